import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import type { Lease } from '../storage/leases.js'
import type { AttemptOutcome } from './attempt-outcome.js'
import { probeWaitMs, retryWaitMs } from './backoff.js'
import type { EventContent, OpenDelivery } from './open-delivery.js'
import { createPendingQueue } from './pending-queue.js'
import type { DeliveryResult } from './queue-repository.js'
import type { StreamTarget } from './stream-target-repository.js'

export interface SendItem extends OpenDelivery {
  readonly content: EventContent
}

export interface StreamSenderDeps {
  readonly clock: Clock
  /** The stream's shard lease; undefined once it is lost. */
  lease(): Lease | undefined
  loadTarget(): Promise<StreamTarget | undefined>
  /** Due rows of this stream that are not in hand, in order, with those that are stale already apart. */
  claim(limit: number, inHand: readonly string[]): Promise<{ due: SendItem[]; stale: OpenDelivery[] }>
  nextDueMs(): Promise<number | undefined>
  attempt(item: SendItem, target: StreamTarget): Promise<AttemptOutcome>
  /** Resolves when written (or when the lease is gone and the row is another's). */
  writeResult(lane: Lane, result: DeliveryResult): Promise<void>
  /** Room in the process-wide budget of this lane. */
  mayStart(lane: Lane): boolean
  started(lane: Lane): void
  ended(lane: Lane): void
  /** Calls `wake` once the shared clock has reached `atMs`; only the earliest time is kept. */
  wakeAt(atMs: number): void
  readonly attemptTimeoutMs: number
  /** Requests in flight per lane. */
  readonly limits: Readonly<Record<Lane, number>>
  onFailing(reason: string, failures: number): void
  onRecovered(): void
}

export interface StreamSender {
  /** Takes rows that fan-out has just queued. */
  offer(items: readonly SendItem[]): void
  /** There may be rows in the table, or a time asked for with `wakeAt` has come. */
  wake(): void
  /** Starts what may be started. */
  pump(): void
  /** Status, endpoint or grants changed: drops what waits, lets attempts end, reads the stream again. */
  reload(): Promise<void>
  /** Stops starting; resolves when nothing is under way. */
  stop(): Promise<void>
  idle(): boolean
  /** In flight or waiting in memory. */
  size(): number
}

/** Above this the table is the queue: memory stays flat in backlog. */
const MAX_IN_MEMORY = 500
const CLAIM_LIMIT = 200
const PROBES = 2
const PARK_AFTER_ATTEMPTS = 10
const PARK_AFTER_MS = 60_000
/** So many failures in a row mean that the endpoint is down; one refused connection is enough. */
const DOWN_AFTER_FAILURES = 3
/** An attempt must end this long before its lease does. */
const LEASE_MARGIN_MS = 150
const RENEWAL_WAIT_MS = 250
const SOON_MS = 20
/** Between two tries of a query that failed. */
const AFTER_FAULT_MS = 500

/**
 * Sends the SETs of one stream, in the process that holds its shard. Rows come from fan-out in memory or, once
 * the stream has spilled, only from the table until that is drained.
 */
export function createStreamSender(deps: StreamSenderDeps): StreamSender {
  const queue = createPendingQueue<SendItem>()
  const inFlight: Record<Lane, number> = { control: 0, urgent: 0, routine: 0 }
  let target: StreamTarget | undefined
  let targetLoading: Promise<void> | undefined
  /** Lanes that have rows in the table and not here; at first nobody knows. */
  let spilled = new Set<Lane>(LANES)
  /** Lanes of which rows went to the table while a claim was reading it. */
  const claimAgain = new Set<Lane>()
  /** What came in memory for a spilled lane during a claim; it may join once the claim shows the table drained. */
  let arrivals: SendItem[] = []
  let noClaimUntilMs = 0
  let claiming: Promise<void> | undefined
  let failures = 0
  let restUntilMs = 0
  let lastFailureMs = 0
  let lastSuccessMs = 0
  let stopped = false
  let writing = 0
  const onQuiet: (() => void)[] = []

  const underWay = () => inFlight.control + inFlight.urgent + inFlight.routine
  const isDown = () => failures >= DOWN_AFTER_FAILURES

  function settleQuiet(): void {
    if (underWay() > 0 || writing > 0 || claiming) return
    for (const resolve of onQuiet.splice(0)) resolve()
  }

  function quiet(): Promise<void> {
    return new Promise((resolve) => {
      onQuiet.push(resolve)
      settleQuiet()
    })
  }

  function accept(items: readonly SendItem[]): void {
    for (const item of items) {
      for (const stale of queue.push(item)) supersede(stale)
    }
  }

  function supersede(item: OpenDelivery): void {
    const lease = deps.lease()
    if (!lease) return
    write(item, {
      streamId: item.streamId,
      lane: item.lane,
      eventId: item.eventId,
      shard: item.shard,
      epoch: lease.epoch,
      outcome: 'superseded',
      attempts: item.attempts,
      deliveredAtMs: null,
      receivedAtMs: null,
    })
  }

  function write(item: OpenDelivery, result: DeliveryResult): void {
    writing += 1
    void deps
      .writeResult(item.lane, result)
      .catch(() => {
        // The row is still in the table: whoever holds the shard sends it again, under the same jti.
        spill(item.lane)
      })
      .finally(() => {
        writing -= 1
        queue.settle(item.eventId)
        settleQuiet()
        pump()
      })
  }

  /** Loads the stream once. What may not go out now stays in the table, and so does all but a stopped stream's notice. */
  function ensureTarget(): boolean {
    if (target) return target.sending || target.noticesOnly
    if (targetLoading) return false
    targetLoading = deps
      .loadTarget()
      .then((loaded) => {
        target = loaded
        if (!loaded?.sending) toTable()
        if (loaded) pump()
      })
      .catch(() => {
        deps.wakeAt(deps.clock.now() + AFTER_FAULT_MS)
      })
      .finally(() => {
        targetLoading = undefined
      })
    return false
  }

  /** The table is the queue from here on. */
  function toTable(): void {
    queue.clear()
    for (const lane of LANES) spill(lane)
  }

  function pump(): void {
    if (stopped || !deps.lease()) return
    if (!ensureTarget() || !target) return
    if (isDown()) {
      probe()
      return
    }
    if (!hasTimeToSend()) return
    for (const lane of LANES) {
      while (inFlight[lane] < deps.limits[lane] && deps.mayStart(lane)) {
        const item = queue.take(lane)
        if (!item) break
        start(item, target)
      }
    }
    if (spilled.size > 0 && queue.waiting() < CLAIM_LIMIT / 2) claim(CLAIM_LIMIT)
  }

  /** An attempt starts only with more lease left than its deadline; else it waits for the next renewal. */
  function hasTimeToSend(): boolean {
    const lease = deps.lease()
    if (!lease) return false
    const leftMs = lease.endsAtMonotonicMs - deps.clock.monotonicMs()
    if (leftMs > deps.attemptTimeoutMs + LEASE_MARGIN_MS) return true
    deps.wakeAt(deps.clock.now() + RENEWAL_WAIT_MS)
    return false
  }

  /** Two tries at an endpoint that is down, most urgent first: two, because the first may itself be the trouble. */
  function probe(): void {
    if (underWay() > 0 || claiming) return
    const now = deps.clock.now()
    if (now < restUntilMs) {
      deps.wakeAt(restUntilMs)
      return
    }
    if (queue.waiting() === 0) {
      claim(CLAIM_LIMIT)
      return
    }
    if (!target || !hasTimeToSend()) return
    const probes: SendItem[] = []
    for (const lane of LANES) {
      while (probes.length < PROBES && deps.mayStart(lane)) {
        const item = queue.take(lane)
        if (!item) break
        probes.push(item)
      }
    }
    for (const item of probes) start(item, target)
  }

  function claim(limit: number): void {
    if (claiming || deps.clock.now() < noClaimUntilMs) return
    claimAgain.clear()
    arrivals = []
    queue.hold()
    claiming = deps
      .claim(limit, queue.known())
      .then(async ({ due, stale }) => {
        for (const item of stale) if (!queue.has(item.eventId)) supersede(item)
        accept(due.filter((item) => !queue.has(item.eventId)))
        if (due.length + stale.length >= limit) return
        // A short page: the table holds nothing more that is due but what came during the claim.
        spilled = new Set(claimAgain)
        accept(arrivals.filter((item) => !spilled.has(item.lane) && !queue.has(item.eventId)))
        await scheduleNextDue()
      })
      .catch(() => {
        toTable()
        noClaimUntilMs = deps.clock.now() + AFTER_FAULT_MS
        deps.wakeAt(noClaimUntilMs)
      })
      .finally(() => {
        claiming = undefined
        arrivals = []
        queue.release()
        settleQuiet()
        if (queue.waiting() > 0 || spilled.size > 0) pump()
      })
  }

  /** Rows of this lane are in the table and not here: a claim must fetch them before any newer one goes out. */
  function spill(lane: Lane): void {
    spilled.add(lane)
    claimAgain.add(lane)
  }

  async function scheduleNextDue(): Promise<void> {
    const due = await deps.nextDueMs()
    if (due !== undefined) deps.wakeAt(Math.max(due, deps.clock.now() + SOON_MS))
  }

  function start(item: SendItem, to: StreamTarget): void {
    inFlight[item.lane] += 1
    deps.started(item.lane)
    const sentAtMs = deps.clock.now()
    deps
      .attempt(item, to)
      .catch(
        (error: unknown): AttemptOutcome => ({
          class: 'failed',
          answered: false,
          reason: describeError(error),
        }),
      )
      .then((outcome) => finish(item, sentAtMs, outcome))
      .finally(() => {
        inFlight[item.lane] -= 1
        deps.ended(item.lane)
        settleQuiet()
        pump()
      })
      .catch(() => {})
  }

  function finish(item: SendItem, sentAtMs: number, outcome: AttemptOutcome): void {
    const now = deps.clock.now()
    queue.finish(item)
    const lease = deps.lease()
    if (!lease) {
      queue.settle(item.eventId)
      return
    }
    const attempts = item.attempts + 1
    const base = {
      streamId: item.streamId,
      lane: item.lane,
      eventId: item.eventId,
      shard: item.shard,
      epoch: lease.epoch,
      attempts,
      deliveredAtMs: sentAtMs,
      receivedAtMs: null,
    }
    if (outcome.class === 'received') {
      succeed(now)
      write(item, { ...base, outcome: 'received', receivedAtMs: now })
    } else if (outcome.class === 'rejected') {
      // The endpoint works: it refused this one SET.
      succeed(now)
      write(item, { ...base, outcome: 'park', code: outcome.code, failure: outcome.reason })
    } else {
      fail(item, base, outcome, now)
    }
  }

  function succeed(now: number): void {
    lastSuccessMs = now
    const wasDown = isDown()
    failures = 0
    restUntilMs = 0
    if (!wasDown) return
    for (const lane of LANES) spill(lane)
    deps.onRecovered()
  }

  function fail(
    item: SendItem,
    base: Omit<DeliveryResult, 'outcome'>,
    outcome: Extract<AttemptOutcome, { class: 'failed' }>,
    now: number,
  ): void {
    const urgent = item.lane !== 'routine'
    const othersSucceed = lastSuccessMs > item.queuedAtMs && now - lastSuccessMs < PARK_AFTER_MS
    const isOld = base.attempts >= PARK_AFTER_ATTEMPTS || now - item.queuedAtMs > PARK_AFTER_MS
    if (othersSucceed && isOld && base.attempts > 1) {
      write(item, { ...base, outcome: 'park', code: 'keeps_failing', failure: outcome.reason })
      return
    }
    // What was under way when the endpoint was seen to be down says nothing new: a burst is one round of failures.
    const isNews = !isDown() || (base.deliveredAtMs ?? now) >= lastFailureMs
    if (isNews) {
      failures = outcome.answered ? failures + 1 : Math.max(failures + 1, DOWN_AFTER_FAILURES)
      lastFailureMs = now
    }
    let nextAttemptAtMs = now + Math.max(retryWaitMs(base.attempts, urgent), outcome.retryAfterMs ?? 0)
    if (isDown()) {
      const restMs = isNews ? probeWaitMs(failures - DOWN_AFTER_FAILURES + 1) : 0
      restUntilMs = Math.max(restUntilMs, now + Math.max(restMs, outcome.retryAfterMs ?? 0))
      // The endpoint sets the pace: whatever waits is due at the next probe.
      nextAttemptAtMs = Math.min(nextAttemptAtMs, restUntilMs)
      toTable()
      if (isNews) deps.onFailing(outcome.reason, failures)
    }
    write(item, { ...base, outcome: 'retry', nextAttemptAtMs, failure: outcome.reason })
    deps.wakeAt(nextAttemptAtMs)
  }

  return {
    offer(items) {
      if (stopped) return
      const isOpen = !isDown() && target?.sending === true
      for (const item of items) {
        const hasRoom = isOpen && queue.waiting() + arrivals.length < MAX_IN_MEMORY
        // A loosening row always comes through the table, where a newer tightening event is seen (a fan-out of
        // another lane may have committed in between).
        if (!hasRoom || item.effect === 'loosens') spill(item.lane)
        else if (!spilled.has(item.lane)) accept([item])
        else if (claiming) arrivals.push(item)
      }
      pump()
    },
    wake() {
      for (const lane of LANES) spill(lane)
      pump()
    },
    pump,
    async reload() {
      queue.clear()
      target = undefined
      stopped = true
      await quiet()
      stopped = false
      failures = 0
      restUntilMs = 0
      toTable()
      pump()
    },
    async stop() {
      stopped = true
      queue.clear()
      await quiet()
    },
    idle: () =>
      underWay() === 0 &&
      writing === 0 &&
      !claiming &&
      queue.waiting() === 0 &&
      !isDown() &&
      spilled.size === 0,
    size: () => underWay() + queue.waiting(),
  }
}
