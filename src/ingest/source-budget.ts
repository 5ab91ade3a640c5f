import type { Clock } from '../kernel/clock.js'

/** `within`: its own lane. `over`: urgent events go by routine. `spent`: not taken now; the next second has room for more. */
export type Allowance = 'within' | 'over' | 'spent'

export interface SourceBudgets {
  /** @param budgetPerS at least 1 */
  take(sourceId: string, budgetPerS: number): Allowance
  /** Of a SET that went no further for want of the hub's room. @param allowance what `take` said */
  giveBack(sourceId: string, allowance: Allowance): void
}

interface Bucket {
  own: number
  total: number
  atMs: number
}

/** A source may send in bursts of this many seconds' worth. */
const BURST_S = 2
/** The second bound, as a multiple of the first: a mass logout still gets in, only not ahead of others. */
const TOTAL_FACTOR = 5

/**
 * Two token buckets per source and process. Taken after the signature holds, so that nobody else can spend a
 * source's budget.
 */
export function createSourceBudgets(clock: Pick<Clock, 'monotonicMs'>): SourceBudgets {
  const buckets = new Map<string, Bucket>()
  return {
    take(sourceId, budgetPerS) {
      const nowMs = clock.monotonicMs()
      const ownMax = budgetPerS * BURST_S
      const totalMax = ownMax * TOTAL_FACTOR
      const bucket = buckets.get(sourceId) ?? { own: ownMax, total: totalMax, atMs: nowMs }
      buckets.set(sourceId, bucket)
      const passedS = (nowMs - bucket.atMs) / 1000
      bucket.atMs = nowMs
      bucket.own = Math.min(ownMax, bucket.own + passedS * budgetPerS)
      bucket.total = Math.min(totalMax, bucket.total + passedS * budgetPerS * TOTAL_FACTOR)
      if (bucket.total < 1) return 'spent'
      bucket.total -= 1
      if (bucket.own < 1) return 'over'
      bucket.own -= 1
      return 'within'
    },
    giveBack(sourceId, allowance) {
      const bucket = buckets.get(sourceId)
      if (!bucket || allowance === 'spent') return
      bucket.total += 1
      if (allowance === 'within') bucket.own += 1
    },
  }
}
