import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { OpenDelivery, SendItem } from './open-delivery.js'
import type { PendingQueue } from './pending-queue.js'

/** Due rows of one lane that are not in hand, in hub order; apart from them those that must not go out any more. */
export interface Claim {
  readonly due: readonly SendItem[]
  /** Overtaken by a newer tightening event of their subject. */
  readonly stale: readonly OpenDelivery[]
  /** The receiver is no longer granted these. */
  readonly ungranted: readonly OpenDelivery[]
  /** What is stored of their events does not open. */
  readonly unreadable: readonly OpenDelivery[]
  /** Why others, which are not among these, do not open for now. */
  readonly fault?: unknown
}

export interface LaneIntakeDeps {
  readonly clock: Clock
  readonly queue: PendingQueue<SendItem>
  /** The oldest, and a few of each cause when there are more than the limit. */
  claim(limit: number, inHand: readonly string[]): Promise<Claim>
  /** When the lane's earliest row that waits for another try is due, ms since the epoch. */
  nextTryMs(inHand: readonly string[]): Promise<number | undefined>
  /** Room in memory for so many more. */
  hasRoom(arriving: number): boolean
  accept(items: readonly SendItem[]): void
  finishUnsent(item: OpenDelivery, outcome: 'superseded' | 'discarded' | 'unreadable'): void
  wakeAt(atMs: number): void
  /** The same, and this lane is to be spilled then: rows of the table fall due. */
  wakeForRows(atMs: number): void
  /** Claims fail, in another way than before; they are tried again and again. */
  onFault(error: unknown): void
  /** They succeed again. */
  onMended(): void
  /** A claim has ended. */
  onClaimed(): void
}

export interface LaneIntake {
  /** A row that fan-out has just queued; without room it stays in the table. */
  offer(item: SendItem, hasRoom: boolean): void
  /** Rows of this lane are in the table and not in hand: a claim fetches them before any newer one goes out. */
  spill(): void
  /** Spills, and lets the table rest: a fault of the database must not become a loop of sending. */
  rest(): void
  /** Fetches a page, if there is reason to; while so many of the lane wait, no more than a few of each cause. */
  claim(waiting: number, limit?: number): void
  needsClaim(): boolean
  /** The last claim failed: nobody knows what of this lane is in the table. */
  isFaulty(): boolean
  isClaiming(): boolean
  /** Rows that wait for the claim under way. */
  buffered(): number
}

const CLAIM_LIMIT = 500
/** Between two tries of a query that failed. */
const AFTER_FAULT_MS = 500
const SOON_MS = 20
/** A lane that is sent slowly looks for other causes this often. */
const LOOK_ASIDE_EVERY_MS = 1_000
/** What a look may bring, at most. With more than two pages in hand it wants as much room. */
const LOOK_ASIDE_ROWS = 256
/** Between two claims, of one source. */
const MAX_PASSING = 32

/**
 * Where the SETs of one lane of a stream come from: in memory from fan-out, or, once the lane has spilled, from the
 * table until that is drained. What arrives while a claim reads the table joins when the claim shows it drained, else
 * a stream under steady load would claim for ever. What tightens access for a cause of which nothing is in hand does not
 * wait for the table to be drained: it may go before older rows (docs/adr/0030).
 */
export function createLaneIntake(deps: LaneIntakeDeps): LaneIntake {
  const { clock, queue } = deps
  // At first nobody knows what the table holds.
  let spilled = true
  let spilledDuringClaim = false
  let arrivals: SendItem[] = []
  let claiming = false
  let noClaimUntilMs = 0
  let lookAsideAtMs = 0
  /** Text of the fault that has been told. */
  let fault: string | undefined
  /** By source, since the last claim. */
  const passed = new Map<string, number>()

  function spill(): void {
    spilled = true
    spilledDuringClaim = true
  }

  function rest(): void {
    spill()
    noClaimUntilMs = clock.now() + AFTER_FAULT_MS
    deps.wakeAt(noClaimUntilMs)
  }

  function fail(error: unknown): void {
    const text = describeError(error)
    if (text !== fault) deps.onFault(error)
    fault = text
    rest()
  }

  function succeed(): void {
    if (fault !== undefined) deps.onMended()
    fault = undefined
  }

  function mayPass(item: SendItem): boolean {
    const count = passed.get(item.sourceId) ?? 0
    if (item.effect !== 'tightens' || count >= MAX_PASSING || queue.holdsCauseOf(item)) return false
    passed.set(item.sourceId, count + 1)
    return true
  }

  /** However long what is in hand takes: a theft that only a hint told of stands in the table behind it. */
  function mayLookAside(waiting: number): boolean {
    return waiting < 2 * CLAIM_LIMIT || deps.hasRoom(LOOK_ASIDE_ROWS)
  }

  async function fetchPage(limit: number): Promise<void> {
    const { due, stale, ungranted, unreadable, fault: closed } = await deps.claim(limit, queue.known())
    for (const item of stale) if (!queue.has(item.eventId)) deps.finishUnsent(item, 'superseded')
    for (const item of ungranted) if (!queue.has(item.eventId)) deps.finishUnsent(item, 'discarded')
    for (const item of unreadable) if (!queue.has(item.eventId)) deps.finishUnsent(item, 'unreadable')
    deps.accept(due.filter((item) => !queue.has(item.eventId)))
    if (closed !== undefined) throw closed
    const claimed = due.length + stale.length + ungranted.length + unreadable.length
    if (claimed >= limit || spilledDuringClaim) return
    // A short page: the table holds nothing more that is due but what came during the claim.
    spilled = false
    deps.accept(arrivals.filter((item) => !queue.has(item.eventId)))
    arrivals = []
    const dueMs = await deps.nextTryMs(queue.known())
    if (dueMs !== undefined) deps.wakeForRows(Math.max(dueMs, clock.now() + SOON_MS))
  }

  return {
    offer(item, hasRoom) {
      // A loosening row always comes through the table, where a newer tightening event is seen (a fan-out of
      // another lane may have committed in between).
      if (!hasRoom || item.effect === 'loosens') spill()
      else if (!spilled || mayPass(item)) deps.accept([item])
      else if (claiming) arrivals.push(item)
    },
    spill,
    rest,
    claim(waiting, limit = CLAIM_LIMIT) {
      const now = clock.now()
      if (claiming || !spilled) return
      if (now < noClaimUntilMs) {
        // Asked again each time: a timer may come a fraction of a millisecond early, and would be the last to come.
        deps.wakeAt(noClaimUntilMs)
        return
      }
      const takesPage = waiting < CLAIM_LIMIT / 2
      if (!takesPage && (now < lookAsideAtMs || !mayLookAside(waiting))) return
      claiming = true
      spilledDuringClaim = false
      lookAsideAtMs = now + LOOK_ASIDE_EVERY_MS
      passed.clear()
      // What is sent and settled meanwhile must be remembered: the claim's snapshot may be older.
      queue.hold()
      fetchPage(takesPage ? limit : 0)
        .then(succeed, fail)
        .finally(() => {
          claiming = false
          arrivals = []
          queue.release()
          deps.onClaimed()
        })
        .catch(() => {})
    },
    needsClaim: () => spilled,
    isFaulty: () => fault !== undefined,
    isClaiming: () => claiming,
    buffered: () => arrivals.length,
  }
}
