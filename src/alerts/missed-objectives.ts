import type { Clock } from '../kernel/clock.js'
import { LANES, type Lane } from '../secevent/event.js'
import { type Condition, type Probe, spell } from './alert.js'
import { createMissedTally, type Missed } from './missed-tally.js'

/** Accept times, on the shared clock, the end excluded. */
export interface LaneRange {
  readonly lane: Lane
  readonly fromMs: number
  readonly toMs: number
}

export interface MissedObjectivesOptions {
  /** All events of these ranges have had their time. */
  count(look: { ranges: readonly LaneRange[]; nowMs: number }): Promise<readonly Missed[]>
  /** Age of the oldest accepted event of each lane that no stream is owed yet. */
  lag(): Promise<readonly { lane: Lane; oldestAgeS: number }[]>
  readonly objectiveMs: number
  readonly windowMs: number
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>
}

/** A report that was made in time may be a moment on its way into the table. */
const SETTLING_MS = 2_000
/** Of accept time in one statement, and of these at a look: what was held up is caught up with, bit by bit. */
const SLICE_MS = 60_000
const SLICES = 10
/** No further slice is begun after so long: the other probes' conditions wait for this one. */
const LOOK_MS = 5_000

/**
 * Each revocation is looked at once, when its objective has passed and fan-out has read it: what that costs grows with
 * what was accepted since the last look. A lane that stands still holds up no other. A process that begins looks back
 * over one window from its first look on, though it may have to wait for what that needs.
 */
export function createMissedObjectivesProbe(options: MissedObjectivesOptions): Probe {
  const { objectiveMs, windowMs, clock } = options
  const dueMs = objectiveMs + SETTLING_MS
  const lookedTo = new Map<Lane, number>()
  const tally = createMissedTally(windowMs)

  /** @returns whether all was looked at that can be */
  async function catchUp(nowMs: number, unread: ReadonlyMap<Lane, number>): Promise<boolean> {
    const beganMs = clock.monotonicMs()
    for (let slice = 0; slice <= SLICES; slice += 1) {
      const ranges = LANES.flatMap((lane) => {
        const fromMs = lookedTo.get(lane) ?? nowMs
        const untilMs = nowMs - Math.max(dueMs, unread.get(lane) ?? 0)
        return fromMs < untilMs ? [{ lane, fromMs, toMs: Math.min(untilMs, fromMs + SLICE_MS) }] : []
      })
      if (ranges.length === 0) return true
      if (slice === SLICES || clock.monotonicMs() - beganMs >= LOOK_MS) return false
      tally.add(await options.count({ ranges, nowMs }), nowMs)
      for (const { lane, toMs } of ranges) lookedTo.set(lane, toMs)
    }
    return false
  }

  return {
    kinds: ['objective_missed'],
    async look() {
      const nowMs = clock.now()
      // Before the lag is asked for: while nobody knows it all waits, and none of it is left out.
      for (const lane of LANES) lookedTo.set(lane, lookedTo.get(lane) ?? nowMs - dueMs - windowMs)
      const unread = new Map((await options.lag()).map(({ lane, oldestAgeS }) => [lane, oldestAgeS * 1000]))
      const isDone = await catchUp(nowMs, unread)
      // Nobody can say that none was missed of a lane that stands still: its window begins when it goes on.
      for (const lane of LANES) if ((unread.get(lane) ?? 0) > dueMs) tally.hold(lane, nowMs)
      const sums = tally.sums(nowMs)
      // Nothing may end while there is more to look at.
      if (!isDone) throw new Error('revocations of the time before are still being counted')
      return sums.map((sum) => toCondition(sum, objectiveMs))
    },
    forget() {
      lookedTo.clear()
      tally.clear()
    },
  }
}

function toCondition(
  { streamId, receiver, stage, count }: Omit<Missed, 'lane'>,
  objectiveMs: number,
): Condition {
  return {
    kind: 'objective_missed',
    object: `stream:${streamId}`,
    summary: `${count} revocation${count === 1 ? ' was' : 's were'} not ${stage} at ${receiver ?? 'a receiver that is gone'} within ${spell(objectiveMs / 1000)}.`,
    detail: { stream_id: streamId, receiver, stage, count, objective_ms: objectiveMs },
  }
}
