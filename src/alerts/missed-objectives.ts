import type { Clock } from '../kernel/clock.js'
import { LANES, type Lane } from '../secevent/event.js'
import { type Condition, type Probe, spell } from './alert.js'

/** What missed the objective on one stream, of events of one lane that were accepted in some range. */
export interface Missed {
  readonly streamId: string
  readonly lane: Lane
  readonly receiver: string | null
  readonly stage: string
  readonly count: number
}

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
  readonly clock: Pick<Clock, 'now'>
}

/** A report that was made in time may be a moment on its way into the table. */
const SETTLING_MS = 2_000
/** Of accept time in one statement, and of these at a look: what was held up is caught up with, bit by bit. */
const SLICE_MS = 60_000
const SLICES = 10

/**
 * Each revocation is looked at once, when its objective has passed and fan-out has read it: what that costs grows with
 * what was accepted since the last look. A lane that stands still holds up no other. A process that begins looks back
 * over one window.
 */
export function createMissedObjectivesProbe(options: MissedObjectivesOptions): Probe {
  const { objectiveMs, windowMs, clock } = options
  const dueMs = objectiveMs + SETTLING_MS
  const lookedTo = new Map<Lane, number>()
  let found: { atMs: number; missed: Missed }[] = []

  /** @returns whether all was looked at that can be */
  async function catchUp(nowMs: number, unread: ReadonlyMap<Lane, number>): Promise<boolean> {
    for (let slice = 0; slice <= SLICES; slice += 1) {
      const ranges = LANES.flatMap((lane) => {
        const fromMs = lookedTo.get(lane) ?? nowMs - dueMs - windowMs
        const untilMs = nowMs - Math.max(dueMs, unread.get(lane) ?? 0)
        return fromMs < untilMs ? [{ lane, fromMs, toMs: Math.min(untilMs, fromMs + SLICE_MS) }] : []
      })
      if (ranges.length === 0) return true
      if (slice === SLICES) return false
      const missed = await options.count({ ranges, nowMs })
      found.push(...missed.map((each) => ({ atMs: nowMs, missed: each })))
      for (const { lane, toMs } of ranges) lookedTo.set(lane, toMs)
    }
    return false
  }

  return {
    kinds: ['objective_missed'],
    async look() {
      const nowMs = clock.now()
      const unread = new Map((await options.lag()).map(({ lane, oldestAgeS }) => [lane, oldestAgeS * 1000]))
      const isDone = await catchUp(nowMs, unread)
      // Nobody can say that none was missed of a lane that stands still: its window begins when it goes on.
      const standsStill = (lane: Lane) => (unread.get(lane) ?? 0) > dueMs
      found = found
        .map((each) => (standsStill(each.missed.lane) ? { ...each, atMs: nowMs } : each))
        .filter(({ atMs }) => atMs > nowMs - windowMs)
      // Nothing may end while there is more to look at.
      if (!isDone) throw new Error('revocations of the time before are still being counted')
      return toConditions(
        found.map(({ missed }) => missed),
        objectiveMs,
      )
    },
    forget() {
      lookedTo.clear()
      found = []
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
