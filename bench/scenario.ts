import type { LoadResult, RunLoad, SystemUnderTest } from './load.js'
import type { Log, Plan } from './options.js'
import { confirmRate, findHighestRate } from './rate-search.js'
import { findFaults } from './verdict.js'

/** Shares of the bare process's highest rate at which latency is taken. */
export const LEVELS = [0.1, 0.3, 0.5] as const

export interface Level {
  readonly share: number
  readonly bare: LoadResult
  readonly hub: LoadResult
}

export interface Round {
  readonly barePerS: number
  readonly hubPerS: number
  /** Whether the hub's rate held for the full time; if not, it is the last rate tried. */
  readonly hubHeld: boolean
  readonly hubRun: LoadResult
  readonly bareRun: LoadResult
  readonly levels: readonly Level[]
}

export interface ScenarioResult {
  readonly log: Log
  readonly streams: number
  readonly rounds: readonly Round[]
}

export interface ScenarioOptions {
  readonly log: Log
  readonly plan: Plan
  readonly hub: SystemUnderTest
  readonly bare: SystemUnderTest
  readonly runLoad: RunLoad
  say(text: string): void
}

/** Signatures a second that two cores give: where the first search starts. */
const START_DELIVERIES_PER_S = 2_500
const START_EVENTS_PER_S = 1_000
const FIRST_STEP = 1.5
const LATER_STEP = 1.12
const TOLERANCE = 1.09
const MAX_PROBES = 9
const CONFIRM_STEP = 0.9
const CONFIRM_TRIES = 4
const WARM_UP_S = 3

/** One stream count on one log: rounds of bare process and hub in turn, so that a busy minute touches both. */
export async function runScenario(options: ScenarioOptions): Promise<ScenarioResult> {
  const { log, plan, hub, bare, runLoad, say } = options
  const startPerS = Math.min(START_EVENTS_PER_S, START_DELIVERIES_PER_S / hub.streams)
  say('warming up')
  for (const system of [bare, hub]) await runLoad(system, { ratePerS: startPerS / 4, seconds: WARM_UP_S })
  const rounds: Round[] = []
  for (let number = 1; number <= plan.rounds; number += 1) {
    const earlier = rounds.at(-1)
    const measure = createMeasure({
      ...options,
      say: (text) => say(`round ${number}/${plan.rounds}: ${text}`),
    })
    const bareTop = await measure.highest(bare, earlier?.barePerS ?? startPerS, earlier !== undefined)
    // After a first guess from the bare process, the hub's own last result is the better start.
    const hubStart = earlier?.hubPerS ?? bareTop.ratePerS * 0.4
    const hubTop = await measure.highest(hub, hubStart, earlier !== undefined)
    rounds.push({
      barePerS: bareTop.ratePerS,
      hubPerS: hubTop.ratePerS,
      hubHeld: hubTop.held,
      hubRun: hubTop.run,
      bareRun: bareTop.run,
      levels: await measure.levels(bareTop.ratePerS),
    })
  }
  return { log, streams: hub.streams, rounds }
}

function createMeasure({ plan, hub, bare, runLoad, say }: ScenarioOptions) {
  async function attempt(system: SystemUnderTest, ratePerS: number, seconds: number) {
    const run = await runLoad(system, { ratePerS, seconds })
    const faults = findFaults(run)
    const verdict = faults.length === 0 ? `held, p99 ${run.p99Ms.toFixed(1)} ms` : faults.join(', ')
    say(
      `${system.name} ${ratePerS.toFixed(1)} events/s for ${(run.sent / ratePerS).toFixed(0)} s: ${verdict}`,
    )
    if (run.missing > 0) say(`${system.name}: ${run.missing} accepted deliveries never arrived`)
    return { run, held: faults.length === 0, carriedPerS: run.deliveredPerS / system.streams }
  }

  return {
    /** Short tries find the rate, one long one confirms it. */
    async highest(system: SystemUnderTest, startPerS: number, isNear: boolean) {
      const found = await findHighestRate({
        startPerS,
        factor: isNear ? LATER_STEP : FIRST_STEP,
        tolerance: TOLERANCE,
        maxProbes: isNear ? MAX_PROBES - 4 : MAX_PROBES,
        sustains: async (ratePerS) => (await attempt(system, ratePerS, plan.probeS)).held,
      })
      return confirmRate({
        startPerS: found > 0 ? found : startPerS / 2,
        step: CONFIRM_STEP,
        maxTries: CONFIRM_TRIES,
        // The bare process gets the easier test: a third of the time.
        attempt: (ratePerS) =>
          attempt(system, ratePerS, system === bare ? Math.ceil(plan.confirmS / 3) : plan.confirmS),
      })
    },
    async levels(barePerS: number): Promise<Level[]> {
      const levels: Level[] = []
      for (const share of LEVELS) {
        const ratePerS = barePerS * share
        const bareRun = await attempt(bare, ratePerS, plan.latencyS)
        const hubRun = await attempt(hub, ratePerS, plan.latencyS)
        levels.push({ share, bare: bareRun.run, hub: hubRun.run })
      }
      return levels
    },
  }
}
