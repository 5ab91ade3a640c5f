import { type AccessEffect, LANES, type Lane } from '../secevent/event.js'

/** What the queue needs to know of an item. */
export interface Pending {
  readonly eventId: string
  readonly lane: Lane
  readonly effect: AccessEffect
  /** Empty: no order to keep. */
  readonly orderKey: string
  readonly bytes: number
}

/** How far to look past items whose subject is busy before giving up for now. */
const LOOK_AHEAD = 256

interface SubjectState {
  busy: boolean
  waiting: number
  newestTightening: string
}

export interface PendingQueue<T extends Pending> {
  /** Adds an item, unless it is there already. Answers the loosening items that are stale from now on. */
  push(item: T): T[]
  /** The first item of the lane whose subject is free; its subject is busy until `finish`. */
  take(lane: Lane): T | undefined
  /** Frees the subject of a taken item: its endpoint has answered. */
  finish(item: T): void
  /** Forgets an item whose result is written; while held only at the release. */
  settle(eventId: string): void
  /** Whether the item waits, is under way, its result is being written, or was written while held. */
  has(eventId: string): boolean
  /** Those that wait, are under way, or whose result is being written. */
  known(): string[]
  waiting(lane?: Lane): number
  /** Forgets all that waits; taken items stay busy. */
  clear(): void
  /**
   * While held, that is during a claim, subjects' newest tightening events are remembered although nothing of them
   * waits, and so are settled items: the claim's snapshot may be older than their result and show them as open.
   */
  hold(): void
  release(): void
}

/**
 * The SETs of one stream that wait in memory: first come, first sent within a lane, one at a time per subject,
 * and never a loosening event after a newer tightening one of its subject (docs/adr/0004).
 * @param count told of each item that begins (1) or ends (-1) to wait here
 */
export function createPendingQueue<T extends Pending>(
  count: (change: 1 | -1, bytes: number) => void = () => {},
): PendingQueue<T> {
  const lanes: Record<Lane, T[]> = { control: [], urgent: [], routine: [] }
  const known = new Set<string>()
  const settledWhileHeld = new Set<string>()
  const subjects = new Map<string, SubjectState>()
  let held = 0

  function subjectOf(orderKey: string): SubjectState {
    let state = subjects.get(orderKey)
    if (!state) {
      state = { busy: false, waiting: 0, newestTightening: '' }
      subjects.set(orderKey, state)
    }
    return state
  }

  function forgetIfIdle(orderKey: string, state: SubjectState): void {
    if (!state.busy && state.waiting === 0 && held === 0) subjects.delete(orderKey)
  }

  function removeStale(orderKey: string, newest: string): T[] {
    const stale: T[] = []
    for (const lane of LANES) {
      const kept = lanes[lane].filter((item) => {
        const isStale = item.orderKey === orderKey && item.effect === 'loosens' && item.eventId < newest
        if (isStale) stale.push(item)
        return !isStale
      })
      if (kept.length !== lanes[lane].length) lanes[lane] = kept
    }
    return stale
  }

  return {
    push(item) {
      if (known.has(item.eventId)) return []
      if (item.orderKey === '') {
        known.add(item.eventId)
        lanes[item.lane].push(item)
        count(1, item.bytes)
        return []
      }
      const subject = subjectOf(item.orderKey)
      if (item.effect === 'loosens' && item.eventId < subject.newestTightening) {
        forgetIfIdle(item.orderKey, subject)
        known.add(item.eventId)
        return [item]
      }
      let stale: T[] = []
      if (item.effect === 'tightens' && item.eventId > subject.newestTightening) {
        subject.newestTightening = item.eventId
        // Scanned only when something of this subject waits: the usual case costs nothing.
        if (subject.waiting > 0) stale = removeStale(item.orderKey, item.eventId)
        subject.waiting -= stale.length
      }
      subject.waiting += 1
      known.add(item.eventId)
      lanes[item.lane].push(item)
      count(1, item.bytes)
      for (const gone of stale) count(-1, gone.bytes)
      return stale
    },

    take(lane) {
      const queue = lanes[lane]
      const depth = Math.min(queue.length, LOOK_AHEAD)
      for (let index = 0; index < depth; index += 1) {
        const item = queue[index] as T
        const subject = item.orderKey === '' ? undefined : subjectOf(item.orderKey)
        if (subject?.busy) continue
        if (index === 0) queue.shift()
        else queue.splice(index, 1)
        count(-1, item.bytes)
        if (subject) {
          subject.busy = true
          subject.waiting -= 1
        }
        return item
      }
      return undefined
    },

    finish(item) {
      const subject = subjects.get(item.orderKey)
      if (!subject) return
      subject.busy = false
      forgetIfIdle(item.orderKey, subject)
    },

    settle(eventId) {
      known.delete(eventId)
      if (held > 0) settledWhileHeld.add(eventId)
    },
    has: (eventId) => known.has(eventId) || settledWhileHeld.has(eventId),
    known: () => [...known],
    waiting: (lane) =>
      lane ? lanes[lane].length : lanes.control.length + lanes.urgent.length + lanes.routine.length,

    clear() {
      for (const lane of LANES) {
        for (const item of lanes[lane]) {
          known.delete(item.eventId)
          count(-1, item.bytes)
          const subject = subjects.get(item.orderKey)
          if (subject) subject.waiting -= 1
        }
        lanes[lane] = []
      }
      for (const [orderKey, subject] of subjects) forgetIfIdle(orderKey, subject)
    },

    hold() {
      held += 1
    },
    release() {
      held -= 1
      if (held > 0) return
      settledWhileHeld.clear()
      for (const [orderKey, subject] of subjects) forgetIfIdle(orderKey, subject)
    },
  }
}
