import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import type { Lease } from '../storage/leases.js'
import type { AttemptOutcome } from './attempt-outcome.js'
import { retryWaitMs } from './backoff.js'
import { createEndpointHealth } from './endpoint-health.js'
import { CLAIM_LIMIT, type Claim, createLaneIntake, type LaneIntake } from './lane-intake.js'
import type { EventContent, OpenDelivery } from './open-delivery.js'
import { createPendingQueue } from './pending-queue.js'
import type { DeliveryResult } from './queue-repository.js'
import type { StreamTarget } from './stream-target-repository.js'

export interface SendItem extends OpenDelivery {
  readonly content: EventContent
}

/** Rows of one stream that fan-out has just queued. */
export interface OfferedRows {
  /** Of the stream when they were matched. */
  readonly version: number
  readonly items: readonly SendItem[]
}

export interface StreamSenderDeps {
  readonly clock: Clock
  /** The stream's shard lease; undefined once it is lost. */
  lease(): Lease | undefined
  loadTarget(): Promise<StreamTarget | undefined>
  claim(lane: Lane, page: { limit: number; inHand: readonly string[] }): Promise<Claim & { version?: number }>
  nextDueMs(lane: Lane): Promise<number | undefined>
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
  /** Takes rows that fan-out has just queued. Those of another version of the stream are claimed from the table. */
  offer(rows: OfferedRows): void
  /** There may be rows in the table, or a time asked for with `wakeAt` has come. */
  wake(): void
  /** Starts what may be started. */
  pump(): void
  /** Status, endpoint or grants changed: drops what waits, lets attempts end, reads the stream again. */
  reload(): Promise<void>
  /** Stops starting; resolves when nothing is under way. */
  stop(): Promise<void>
  /** Nothing is known here that the table does not hold as well. */
  idle(): boolean
}

/** Above this the table is the queue: memory stays flat in backlog. */
const MAX_IN_MEMORY = 500
const PROBES = 2
const PARK_AFTER_ATTEMPTS = 10
const PARK_AFTER_MS = 60_000
/** An attempt must end this long before its lease does. */
const LEASE_MARGIN_MS = 150
const RENEWAL_WAIT_MS = 250
const AFTER_FAULT_MS = 500

/** Sends the SETs of one stream, in the process that holds its shard. */
export function createStreamSender(deps: StreamSenderDeps): StreamSender {
  const { clock } = deps
  const queue = createPendingQueue<SendItem>()
  const endpoint = createEndpointHealth()
  const inFlight: Record<Lane, number> = { control: 0, urgent: 0, routine: 0 }
  let target: StreamTarget | undefined
  /** Raised by each reload, so that a slow load of the state before cannot come back after it. */
  let generation = 0
  let loading = false
  let stopped = false
  let writing = 0
  const onQuiet: (() => void)[] = []

  const intakes = {} as Record<Lane, LaneIntake>
  for (const lane of LANES) {
    intakes[lane] = createLaneIntake({
      clock,
      queue,
      claim: async (limit, inHand) => {
        const claimed = await deps.claim(lane, { limit, inHand })
        // Memory proposes, SQL decides: a claim that saw another version of the stream makes us read it again.
        if (target && claimed.version !== undefined && claimed.version !== target.version) forgetTarget()
        return claimed
      },
      nextDueMs: () => deps.nextDueMs(lane),
      accept,
      finishUnsent,
      wakeAt: deps.wakeAt,
      onClaimed() {
        settleQuiet()
        if (queue.waiting() > 0 || anyLane((intake) => intake.needsClaim())) pump()
      },
    })
  }

  const anyLane = (is: (intake: LaneIntake) => boolean) => LANES.some((lane) => is(intakes[lane]))
  const underWay = () => inFlight.control + inFlight.urgent + inFlight.routine

  function isQuiet(): boolean {
    return underWay() === 0 && writing === 0 && !anyLane((intake) => intake.isClaiming())
  }

  function settleQuiet(): void {
    if (!isQuiet()) return
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
      for (const stale of queue.push(item)) finishUnsent(stale, 'superseded')
    }
  }

  function finishUnsent(item: OpenDelivery, outcome: 'superseded' | 'discarded'): void {
    const lease = deps.lease()
    if (!lease) return
    const failure = outcome === 'discarded' ? 'the receiver is no longer granted this event' : undefined
    write(item, {
      ...resultOf(item, lease),
      attempts: item.attempts,
      outcome,
      deliveredAtMs: null,
      ...(failure ? { failure } : {}),
    })
  }

  function resultOf(item: OpenDelivery, lease: Lease) {
    const { streamId, lane, eventId, shard } = item
    return { streamId, lane, eventId, shard, epoch: lease.epoch, receivedAtMs: null }
  }

  function write(item: OpenDelivery, result: DeliveryResult): void {
    writing += 1
    void deps
      .writeResult(item.lane, result)
      .catch(() => {
        // The row is still in the table: whoever holds the shard sends it again, under the same jti.
        intakes[item.lane].rest()
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
    if (!loading) void loadTarget(generation)
    return false
  }

  async function loadTarget(startedIn: number): Promise<void> {
    loading = true
    try {
      const loaded = await deps.loadTarget()
      if (startedIn !== generation) return
      target = loaded
      if (!loaded?.sending) toTable()
    } catch {
      deps.wakeAt(clock.now() + AFTER_FAULT_MS)
      return
    } finally {
      if (startedIn === generation) loading = false
    }
    if (target) pump()
  }

  function forgetTarget(): void {
    generation += 1
    loading = false
    target = undefined
  }

  /** The table is the queue from here on. */
  function toTable(): void {
    queue.clear()
    for (const lane of LANES) intakes[lane].spill()
  }

  function pump(): void {
    if (stopped || !deps.lease()) return
    if (!ensureTarget() || !target) return
    if (endpoint.isDown()) {
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
      if (queue.waiting(lane) < CLAIM_LIMIT / 2) intakes[lane].claim()
    }
  }

  /** An attempt starts only with more lease left than its deadline; else it waits for the next renewal. */
  function hasTimeToSend(): boolean {
    const lease = deps.lease()
    if (!lease) return false
    const leftMs = lease.endsAtMonotonicMs - clock.monotonicMs()
    if (leftMs > deps.attemptTimeoutMs + LEASE_MARGIN_MS) return true
    deps.wakeAt(clock.now() + RENEWAL_WAIT_MS)
    return false
  }

  /** Two tries at an endpoint that is down, most urgent first: two, because the first may itself be the trouble. */
  function probe(): void {
    if (underWay() > 0 || anyLane((intake) => intake.isClaiming())) return
    if (clock.now() < endpoint.restUntilMs()) {
      deps.wakeAt(endpoint.restUntilMs())
      return
    }
    if (queue.waiting() === 0) {
      for (const lane of LANES) intakes[lane].claim()
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

  function start(item: SendItem, to: StreamTarget): void {
    inFlight[item.lane] += 1
    deps.started(item.lane)
    const sentAtMs = clock.now()
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
    const now = clock.now()
    queue.finish(item)
    const lease = deps.lease()
    if (!lease) {
      queue.settle(item.eventId)
      return
    }
    const base = { ...resultOf(item, lease), attempts: item.attempts + 1, deliveredAtMs: sentAtMs }
    if (outcome.class === 'received') {
      succeed(now)
      write(item, { ...base, outcome: 'received', receivedAtMs: now })
    } else if (outcome.class === 'rejected') {
      // The endpoint works: it refused this one SET.
      succeed(now)
      write(item, { ...base, outcome: 'park', code: outcome.code, failure: outcome.reason })
    } else {
      // Without an answer nobody knows whether it left, so it does not count as delivered.
      fail(item, { ...base, deliveredAtMs: outcome.answered ? sentAtMs : null }, { sentAtMs, outcome })
    }
  }

  function succeed(now: number): void {
    if (!endpoint.succeed(now)) return
    for (const lane of LANES) intakes[lane].spill()
    deps.onRecovered()
  }

  function fail(
    item: SendItem,
    base: Omit<DeliveryResult, 'outcome'>,
    { sentAtMs, outcome }: { sentAtMs: number; outcome: Extract<AttemptOutcome, { class: 'failed' }> },
  ): void {
    const now = clock.now()
    if (isHopeless(item, base.attempts, now)) {
      write(item, { ...base, outcome: 'park', code: 'keeps_failing', failure: outcome.reason })
      return
    }
    const retryAfterMs = outcome.retryAfterMs ?? 0
    const isNews = endpoint.fail({ sentAtMs, nowMs: now, answered: outcome.answered, retryAfterMs })
    let nextAttemptAtMs = now + Math.max(retryWaitMs(base.attempts, item.lane !== 'routine'), retryAfterMs)
    if (endpoint.isDown()) {
      // The endpoint sets the pace: whatever waits is due at the next probe.
      nextAttemptAtMs = Math.min(nextAttemptAtMs, endpoint.restUntilMs())
      toTable()
      if (isNews) deps.onFailing(outcome.reason, endpoint.failures())
    }
    write(item, { ...base, outcome: 'retry', nextAttemptAtMs, failure: outcome.reason })
    deps.wakeAt(nextAttemptAtMs)
  }

  /** It keeps failing while others succeed at the same endpoint. */
  function isHopeless(item: SendItem, attempts: number, now: number): boolean {
    const lastSuccessMs = endpoint.lastSuccessMs()
    const othersSucceed = lastSuccessMs > item.queuedAtMs && now - lastSuccessMs < PARK_AFTER_MS
    return (
      othersSucceed &&
      attempts > 1 &&
      (attempts >= PARK_AFTER_ATTEMPTS || now - item.queuedAtMs > PARK_AFTER_MS)
    )
  }

  return {
    offer({ version, items }) {
      if (stopped) return
      // Of another version when no word of a change has come yet: the claim that it takes instead reads the stream again.
      const isOpen = !endpoint.isDown() && target?.sending === true && target.version === version
      for (const item of items) {
        const buffered = LANES.reduce((sum, lane) => sum + intakes[lane].buffered(), 0)
        intakes[item.lane].offer(item, isOpen && queue.waiting() + buffered < MAX_IN_MEMORY)
      }
      pump()
    },
    wake() {
      for (const lane of LANES) intakes[lane].spill()
      pump()
    },
    pump,
    async reload() {
      queue.clear()
      forgetTarget()
      stopped = true
      await quiet()
      // What was claimed or loaded before the attempts ended is of the old state too.
      forgetTarget()
      stopped = false
      endpoint.reset()
      toTable()
      pump()
    },
    async stop() {
      stopped = true
      queue.clear()
      await quiet()
    },
    idle: () =>
      isQuiet() && queue.waiting() === 0 && !endpoint.isDown() && !anyLane((intake) => intake.needsClaim()),
  }
}
