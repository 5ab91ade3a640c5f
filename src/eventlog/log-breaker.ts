import type { Clock } from '../kernel/clock.js'
import type { Lane } from '../secevent/event.js'

export interface Place {
  readonly lane: Lane
  readonly slot: number
}

/** Ids of rows written around Kafka for one lane and slot, as far as they may not be fanned out yet. */
interface Detour {
  firstId: number
  lastId: number
  /** Appends to Postgres under way. */
  writing: number
}

/**
 * Says, per lane and slot, which log takes an append. After a trip all goes to Postgres. Once the broker has answered
 * for the quiet time, each slot returns by itself, as soon as its rows are fanned out: so no newer event of a subject
 * overtakes an older one, and a busy slot keeps no other waiting.
 */
export interface LogBreaker {
  trip(): void
  /** Ids are those of the rows; to be called around each append that goes to Postgres. */
  beginDetour(place: Place): void
  endDetour(place: Place, ids: readonly number[]): void
  takesDetour(place: Place): boolean
  /** The broker answered, or did not. */
  probed(answered: boolean): void
  state(): 'closed' | 'open' | 'returning'
  /** The range of ids that may still be open; undefined when there is none. */
  detourRange(): { from: number; to: number } | undefined
  /** Which of the slots known now may return, given where open rows were found in that range. */
  settle(range: { from: number; to: number }, open: readonly Place[]): void
  /** True when the last probe was answered. */
  answering(): boolean
}

const MAX_QUIET_MS = 60_000

export function createLogBreaker(options: { clock: Clock; returnAfterMs: number }): LogBreaker {
  const { clock, returnAfterMs } = options
  const detours = new Map<string, Detour>()
  let state: 'closed' | 'open' | 'returning' = 'closed'
  let answeringSinceMs: number | undefined
  let closedSinceMs = Number.NEGATIVE_INFINITY
  let quietMs = returnAfterMs
  const keyOf = ({ lane, slot }: Place) => `${lane}/${slot}`

  function closeIfDone(): void {
    if (state !== 'returning' || detours.size > 0) return
    state = 'closed'
    closedSinceMs = clock.monotonicMs()
  }

  return {
    trip() {
      if (state !== 'open') {
        // A broker that answers probes but takes no records must not cost a time-out every few seconds.
        const soon = state === 'returning' || clock.monotonicMs() - closedSinceMs < 2 * quietMs
        quietMs = soon ? Math.min(quietMs * 2, MAX_QUIET_MS) : returnAfterMs
      }
      state = 'open'
      answeringSinceMs = undefined
    },
    takesDetour: (place) => state === 'open' || detours.has(keyOf(place)),
    beginDetour(place) {
      const detour = detours.get(keyOf(place))
      if (detour) detour.writing += 1
      else detours.set(keyOf(place), { firstId: Number.POSITIVE_INFINITY, lastId: -1, writing: 1 })
    },
    endDetour(place, ids) {
      const detour = detours.get(keyOf(place))
      if (!detour) return
      detour.writing -= 1
      for (const id of ids) {
        detour.firstId = Math.min(detour.firstId, id)
        detour.lastId = Math.max(detour.lastId, id)
      }
    },
    probed(answered) {
      if (!answered) {
        answeringSinceMs = undefined
        return
      }
      answeringSinceMs ??= clock.monotonicMs()
      if (state === 'open' && clock.monotonicMs() - answeringSinceMs >= quietMs) state = 'returning'
      closeIfDone()
    },
    state: () => state,
    detourRange() {
      const all = [...detours.values()].filter((detour) => detour.lastId >= 0)
      if (all.length === 0) return undefined
      return {
        from: Math.min(...all.map((detour) => detour.firstId)),
        to: Math.max(...all.map((detour) => detour.lastId)),
      }
    },
    settle(range, open) {
      if (state !== 'returning') return
      const busy = new Set(open.map(keyOf))
      for (const [key, detour] of detours) {
        // Rows written since the look are outside the range: not settled by it.
        if (!busy.has(key) && detour.writing === 0 && detour.lastId <= range.to) detours.delete(key)
      }
      closeIfDone()
    },
    answering: () => answeringSinceMs !== undefined,
  }
}
