import type { Clock } from '../kernel/clock.js'
import { type Condition, type Probe, spell } from './alert.js'

/** What missed the objective on one stream, of events accepted in some range. */
export interface Missed {
  readonly streamId: string
  readonly receiver: string | null
  readonly stage: string
  readonly count: number
}

export interface MissedObjectivesOptions {
  /** Of events accepted from `fromMs` until `toMs`, on the shared clock; all of them have had their time. */
  count(range: { fromMs: number; toMs: number; nowMs: number }): Promise<readonly Missed[]>
  /** Age of the oldest accepted event that no stream is owed yet, seconds. */
  oldestUnreadS(): Promise<number>
  readonly objectiveMs: number
  readonly windowMs: number
  readonly clock: Pick<Clock, 'now'>
}

/** A report that was made in time may be a moment on its way into the table. */
const SETTLING_MS = 2_000
/** Of accept time in one statement, and of these at a look: what was held up is caught up with, bit by bit. */
const SLICE_MS = 60_000
const SLICES = 10

/**
 * Each revocation is looked at once, when its objective has passed: what that costs grows with what was accepted since
 * the last look. A process that begins looks back over one window.
 */
export function createMissedObjectivesProbe(options: MissedObjectivesOptions): Probe {
  const { objectiveMs, windowMs, clock } = options
  let fromMs: number | undefined
  let found: { atMs: number; missed: readonly Missed[] }[] = []

  async function lookAt(nowMs: number): Promise<boolean> {
    const unreadS = await options.oldestUnreadS()
    const untilMs = nowMs - Math.max(objectiveMs + SETTLING_MS, unreadS * 1000)
    fromMs ??= nowMs - objectiveMs - SETTLING_MS - windowMs
    for (let slice = 0; slice < SLICES && fromMs < untilMs; slice += 1) {
      const toMs = Math.min(untilMs, fromMs + SLICE_MS)
      const missed = await options.count({ fromMs, toMs, nowMs })
      if (missed.length > 0) found.push({ atMs: nowMs, missed })
      fromMs = toMs
    }
    return fromMs >= untilMs
  }

  return {
    kinds: ['objective_missed'],
    async look() {
      const nowMs = clock.now()
      const isDone = await lookAt(nowMs)
      found = found.filter(({ atMs }) => atMs > nowMs - windowMs)
      // Nothing may end while there is more to look at.
      if (!isDone) throw new Error('revocations of the time before are still being counted')
      return toConditions(
        found.flatMap(({ missed }) => missed),
        objectiveMs,
      )
    },
  }
}

function toConditions(all: readonly Missed[], objectiveMs: number): Condition[] {
  const sums = new Map<string, Missed>()
  for (const missed of all) {
    const before = sums.get(missed.streamId)?.count ?? 0
    sums.set(missed.streamId, { ...missed, count: before + missed.count })
  }
  return [...sums.values()].map(({ streamId, receiver, stage, count }) => ({
    kind: 'objective_missed',
    object: `stream:${streamId}`,
    summary: `${count} revocation${count === 1 ? ' was' : 's were'} not ${stage} at ${receiver ?? 'a receiver that is gone'} within ${spell(objectiveMs / 1000)}.`,
    detail: { stream_id: streamId, receiver, stage, count, objective_ms: objectiveMs },
  }))
}
