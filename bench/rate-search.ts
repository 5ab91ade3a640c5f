export interface RateSearch {
  /** First rate to try, per second. */
  readonly startPerS: number
  /** Step while only one side is known. Over 1. */
  readonly factor: number
  /** Stop when the lowest failing rate is within this factor of the highest sustained one. Over 1. */
  readonly tolerance: number
  readonly maxProbes: number
  /** Tries one rate. */
  sustains(ratePerS: number): Promise<boolean>
}

/**
 * Goes up or down from the start until one rate holds and a higher one does not, then halves the distance between
 * them (geometrically). Answers the highest rate that held; 0 when none did.
 */
export async function findHighestRate(search: RateSearch): Promise<number> {
  let held = 0
  let failed = Number.POSITIVE_INFINITY
  let rate = search.startPerS
  for (let probe = 0; probe < search.maxProbes; probe += 1) {
    if (await search.sustains(rate)) held = rate
    else failed = rate
    if (failed / held <= search.tolerance) break
    if (failed === Number.POSITIVE_INFINITY) rate = held * search.factor
    else if (held === 0) rate = failed / search.factor
    else rate = Math.sqrt(held * failed)
  }
  return held
}

export interface Confirmation<T> {
  readonly ratePerS: number
  readonly run: T
  readonly held: boolean
}

/**
 * Holds a rate for the full time. One that does not hold is lowered, a few times: to what was carried meanwhile, when
 * that is less than the next step. Answers the last try.
 */
export async function confirmRate<T>(options: {
  startPerS: number
  /** What remains of the rate after a try that did not hold. Under 1. */
  step: number
  maxTries: number
  attempt(ratePerS: number): Promise<{ run: T; held: boolean; carriedPerS: number }>
}): Promise<Confirmation<T>> {
  let ratePerS = options.startPerS
  for (let tries = 1; ; tries += 1) {
    const { run, held, carriedPerS } = await options.attempt(ratePerS)
    if (held || tries >= options.maxTries) return { ratePerS, run, held }
    // Nothing carried says nothing about what can be.
    ratePerS = (carriedPerS > 0 ? Math.min(ratePerS, carriedPerS) : ratePerS / 2) * options.step
  }
}
