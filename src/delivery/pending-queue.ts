import { type AccessEffect, LANES, type Lane } from '../secevent/event.js'
import { createTurns, type Turns } from './turns.js'

/** What the queue needs to know of an item. */
export interface Pending {
  readonly eventId: string
  readonly lane: Lane
  readonly effect: AccessEffect
  /** Empty: no order to keep. */
  readonly orderKey: string
  readonly bytes: number
  /** Who said it, and what joins it with others of one cause. */
  readonly sourceId: string
  readonly txn: string
}

interface Subject<T> {
  busy: boolean
  /** Of all lanes, in hub order. */
  waiting: T[]
  newestTightening: string
}

export interface PendingQueue<T extends Pending> {
  /** Adds an item, unless it is there already. Answers the loosening items that are stale from now on. */
  push(item: T): T[]
  /** The next item of the lane whose subject is free; its subject is busy until `finish`. */
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
  /** Whether anything of the item's cause waits in its lane. */
  holdsCauseOf(item: Pending): boolean
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
 * The SETs of one stream that wait in memory: round by source and cause within a lane, one at a time per subject in
 * hub order, and never a loosening event after a newer tightening one of its subject (docs/adr/0004, 0030).
 * @param count told of each item that begins (1) or ends (-1) to wait here
 */
export function createPendingQueue<T extends Pending>(
  count: (change: 1 | -1, bytes: number) => void = () => {},
): PendingQueue<T> {
  /** A subject stands in the turns once for each of its items. */
  const turns = {} as Record<Lane, Turns<Subject<T>>>
  for (const lane of LANES) turns[lane] = createTurns()
  const waiting: Record<Lane, number> = { control: 0, urgent: 0, routine: 0 }
  const known = new Set<string>()
  const settledWhileHeld = new Set<string>()
  const subjects = new Map<string, Subject<T>>()
  let held = 0

  function subjectOf(orderKey: string): Subject<T> {
    const subject = subjects.get(orderKey) ?? { busy: false, waiting: [], newestTightening: '' }
    // Without a subject there is no order to keep: each is one of its own.
    if (orderKey !== '') subjects.set(orderKey, subject)
    return subject
  }

  function forgetIfIdle(orderKey: string, subject: Subject<T>): void {
    if (!subject.busy && subject.waiting.length === 0 && held === 0) subjects.delete(orderKey)
  }

  function enter(item: T, subject: Subject<T>): void {
    let place = subject.waiting.length
    while (place > 0 && (subject.waiting[place - 1] as T).eventId > item.eventId) place -= 1
    subject.waiting.splice(place, 0, item)
    turns[item.lane].add(item.sourceId, item.txn, subject)
    waiting[item.lane] += 1
    count(1, item.bytes)
  }

  function leave(item: T): void {
    waiting[item.lane] -= 1
    count(-1, item.bytes)
  }

  function removeStale(subject: Subject<T>, newest: string): T[] {
    const isStale = (item: T) => item.effect === 'loosens' && item.eventId < newest
    const stale = subject.waiting.filter(isStale)
    if (stale.length === 0) return stale
    subject.waiting = subject.waiting.filter((item) => !isStale(item))
    for (const item of stale) {
      turns[item.lane].remove(item.sourceId, item.txn, subject)
      leave(item)
    }
    return stale
  }

  return {
    push(item) {
      if (known.has(item.eventId)) return []
      known.add(item.eventId)
      const subject = subjectOf(item.orderKey)
      if (item.effect === 'loosens' && item.eventId < subject.newestTightening) {
        forgetIfIdle(item.orderKey, subject)
        return [item]
      }
      let stale: T[] = []
      if (item.effect === 'tightens' && item.eventId > subject.newestTightening) {
        subject.newestTightening = item.eventId
        stale = removeStale(subject, item.eventId)
      }
      enter(item, subject)
      return stale
    },

    take(lane) {
      const turn = turns[lane].next(({ busy }) => !busy)
      if (!turn) return undefined
      const { entry: subject, sourceId, txn } = turn
      const index = subject.waiting.findIndex((item) => item.lane === lane)
      const [item] = subject.waiting.splice(index, 1) as [T]
      if (item.sourceId !== sourceId || item.txn !== txn) {
        // An older one of the subject goes first, in this turn: behind a long cause it would hold the newer one back.
        turns[lane].remove(item.sourceId, item.txn, subject)
        turns[lane].add(sourceId, txn, subject)
      }
      leave(item)
      subject.busy = item.orderKey !== ''
      return item
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
    waiting: (lane) => (lane ? waiting[lane] : waiting.control + waiting.urgent + waiting.routine),
    holdsCauseOf: ({ lane, sourceId, txn }) => turns[lane].holds(sourceId, txn),

    clear() {
      for (const lane of LANES) {
        for (const subject of turns[lane].clear()) {
          for (const item of subject.waiting.splice(0)) {
            known.delete(item.eventId)
            leave(item)
          }
        }
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
