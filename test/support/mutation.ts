/**
 * Whether Stryker runs this process. It runs the same suites again and again in one process, and changes the code of
 * this process only: what is costly to start is kept between the runs, and tests of hub processes are left out.
 */
export const isMutationRun = process.env.STRYKER_MUTATOR_WORKER !== undefined
