import { describeError } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import { createAttemptEnds } from './attempt-end.js'
import type { AttemptOutcome } from './attempt-outcome.js'
import { unsentResult } from './attempt-result.js'
import { createEndpointHealth } from './endpoint-health.js'
import { createLaneIntakes } from './lane-intakes.js'
import { createLoadedTarget } from './loaded-target.js'
import { createLoneFailures } from './lone-failures.js'
import type { OpenDelivery, SendItem } from './open-delivery.js'
import { createPendingQueue } from './pending-queue.js'
import type { DeliveryResult } from './queue-repository.js'
import type { StreamSenderDeps } from './stream-sender-deps.js'
import type { StreamTarget } from './stream-target-repository.js'

/** Rows of one stream that fan-out has just queued. */
export interface OfferedRows {
  /** Of the stream when they were matched. */
  readonly version: number
  readonly items: readonly SendItem[]
}

export interface StreamSender {
  /** Takes rows that fan-out has just queued. Those of another version of the stream are claimed from the table. */
  offer(rows: OfferedRows): void
  /** There may be rows in the table. */
  wake(): void
  /** A time asked for with `wakeAt` has come. */
  due(): void
  /** Starts what may be started. */
  pump(): void
  /** Status, endpoint or grants changed: drops what waits, lets attempts end, reads the stream again. */
  reload(): Promise<void>
  /** Of the stream, as it is sent for; undefined while it is not known. */
  version(): number | undefined
  /** Stops starting; resolves when nothing is under way. */
  stop(): Promise<void>
  /** Nothing is owed that is due or will be, and nothing is known here that the table does not hold as well. */
  idle(): boolean
  /** Its endpoint stands on record as failing, as far as is known here. */
  isOnRecord(): boolean
}

const PROBES = 2
/** Claimed of each lane for them: a few more, since the oldest may all be of one cause, and that the trouble. */
const PROBE_ROWS = 16
/** An attempt must end this long before its lease does. */
const LEASE_MARGIN_MS = 150
const RENEWAL_WAIT_MS = 250
const AFTER_FAULT_MS = 500

/** Sends the SETs of one stream, in the process that holds its shard. */
export function createStreamSender(deps: StreamSenderDeps): StreamSender {
  const { clock } = deps
  const queue = createPendingQueue<SendItem>(deps.room.count)
  const endpoint = createEndpointHealth()
  const lone = createLoneFailures()
  const inFlight: Record<Lane, number> = { control: 0, urgent: 0, routine: 0 }
  /** Lanes with a backlog in the table that was not drained yet: a recovered endpoint gets the more urgent one first. */
  const behind = new Set<Lane>(LANES)
  let stopped = false
  /** Stopped for good: a reload under way must not start it again. */
  let ended = false
  let writing = 0
  /** The earliest time that was asked for because rows fall due: the others are no reason to ask the table. */
  let rowsDueMs = Number.POSITIVE_INFINITY
  /** As last read. */
  let endpointUrl: string | undefined
  const onQuiet: (() => void)[] = []
  const target = createLoadedTarget({
    load: deps.loadTarget,
    onLoaded(loaded) {
      if (loaded?.endpointUrl !== endpointUrl) {
        lone.clear()
        endpoint.replace()
      }
      endpointUrl = loaded?.endpointUrl
      if (loaded) goOn(loaded)
      // What may not go out now stays in the table, and so does all but a stopped stream's notice.
      if (!loaded?.sending) toTable()
      // Nobody asks its endpoint any more, so nobody would see the end of its failing.
      if (loaded && !loaded.sending && !loaded.noticesOnly) deps.onUnasked()
      if (loaded) pump()
    },
    onFault(error, isNews) {
      if (isNews) deps.onUnreadable(error)
      deps.wakeAt(clock.now() + AFTER_FAULT_MS)
    },
    onMended: deps.onReadable,
  })

  const intakes = createLaneIntakes({
    clock,
    queue,
    async claim(page) {
      const claimed = await deps.claim(page)
      // Memory proposes, SQL decides: a claim that saw another version of the stream makes us read it again.
      const known = target.get()
      if (known && claimed.version !== undefined && claimed.version !== known.version) startAnew()
      return claimed
    },
    nextTryMs: deps.nextTryMs,
    isStopped: () => target.get()?.sending === false,
    hasRoom: deps.room.hasRoom,
    accept,
    finishUnsent,
    wakeAt: deps.wakeAt,
    wakeForRows,
    onFault: deps.onUnclaimed,
    onMended: deps.onClaimable,
    onClaimed() {
      settleQuiet()
      if (queue.waiting() > 0 || intakes.needClaim()) pump()
    },
  })

  const underWay = () => inFlight.control + inFlight.urgent + inFlight.routine

  function wakeForRows(atMs: number): void {
    rowsDueMs = Math.min(rowsDueMs, atMs)
    deps.wakeAt(atMs)
  }

  function isQuiet(): boolean {
    return underWay() === 0 && writing === 0 && !intakes.areClaiming()
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

  function finishUnsent(item: OpenDelivery, outcome: 'superseded' | 'discarded' | 'unreadable'): void {
    const lease = deps.lease()
    if (!lease) return
    lone.forget(item.eventId)
    write(item, unsentResult({ item, lease, outcome }))
  }

  /** @param first what must be durable before the result is: as long as it is not, the row is tried again */
  function write(item: OpenDelivery, result: DeliveryResult, first?: () => Promise<void>): void {
    writing += 1
    const written = first
      ? first().then(() => deps.writeResult(item.lane, result))
      : deps.writeResult(item.lane, result)
    void written
      .catch(() => {
        // The row is still in the table: whoever holds the shard sends it again, under the same jti.
        intakes.of[item.lane].rest()
      })
      .finally(() => {
        writing -= 1
        queue.settle(item.eventId)
        // While it was being written no claim could see when it is due.
        if (result.nextAttemptAtMs !== undefined) wakeForRows(result.nextAttemptAtMs)
        settleQuiet()
        pump()
      })
  }

  const endAttempt = createAttemptEnds({
    ...deps,
    endpoint,
    lone,
    write,
    leave: (item) => queue.settle(item.eventId),
    onDown: toTable,
    onUp: spillAll,
    onNotEnabled(to) {
      // Another state of the stream says itself whether its endpoint rests.
      if (target.get() === to) endpoint.postpone(clock.now(), deps.pausedProbeMs)
    },
  })

  /** Where this or another process left off with its endpoint. */
  function goOn({ record, pausedForFailing }: StreamTarget): void {
    if (!record) return
    if (record.isCurrent) endpoint.resume(record.failing, pausedForFailing ? deps.pausedProbeMs : undefined)
    else endpoint.expectClearing()
  }

  /** The stream is another one than what waits here was meant for. */
  function startAnew(): void {
    target.forget()
    endpoint.reset()
    toTable()
  }

  /** The table is the queue from here on. */
  function toTable(): void {
    queue.clear()
    spillAll()
  }

  function spillAll(): void {
    intakes.spill()
    for (const lane of LANES) behind.add(lane)
  }

  function pump(): void {
    if (stopped || !deps.lease()) return
    tellRecovery()
    target.ensure()
    const to = target.get()
    if (!to || !(to.sending || to.noticesOnly)) return
    if (endpoint.isDown()) {
      probe(to)
      return
    }
    if (!hasTimeToSend()) return
    let isInTurn = true
    for (const lane of LANES) {
      while (isInTurn && inFlight[lane] < deps.limits[lane] && mayTake(lane)) {
        const item = queue.take(lane)
        if (!item) break
        start(item, to)
      }
      intakes.of[lane].claim(queue.waiting(lane))
      if (!behind.has(lane)) continue
      const isEmpty = queue.waiting(lane) === 0
      if (isEmpty && !intakes.of[lane].needsClaim()) behind.delete(lane)
      // No lane waits for another's connections: what cannot be claimed holds nothing back.
      else if (!isEmpty || !intakes.of[lane].isFaulty()) isInTurn = false
    }
  }

  /** Whoever is refused a place is woken for it, so it is asked for only when something waits. */
  function mayTake(lane: Lane): boolean {
    return queue.waiting(lane) > 0 && deps.mayStart(lane)
  }

  function tellRecovery(): void {
    const atMs = endpoint.recoversAtMs()
    if (atMs === undefined) return
    if (endpoint.settle(clock.now())) deps.onRecovered()
    else deps.wakeAt(atMs)
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
  function probe(to: StreamTarget): void {
    if (underWay() > 0 || intakes.areClaiming()) return
    if (clock.now() < endpoint.restUntilMs()) {
      deps.wakeAt(endpoint.restUntilMs())
      return
    }
    if (queue.waiting() === 0) {
      for (const lane of LANES) intakes.of[lane].claim(0, PROBE_ROWS)
      return
    }
    if (!hasTimeToSend()) return
    const probes: SendItem[] = []
    for (const lane of LANES) {
      while (probes.length < PROBES && mayTake(lane)) {
        const item = queue.take(lane)
        if (!item) break
        probes.push(item)
      }
    }
    for (const item of probes) start(item, to)
  }

  function start(item: SendItem, to: StreamTarget): void {
    inFlight[item.lane] += 1
    const sentAtMs = clock.now()
    deps
      .attempt(item, to)
      .catch(
        (error: unknown): AttemptOutcome => ({
          class: 'failed',
          failure: 'internal',
          reason: describeError(error),
        }),
      )
      .then((outcome) => {
        queue.finish(item)
        endAttempt({ item, to, sentAtMs }, outcome)
      })
      .finally(() => {
        inFlight[item.lane] -= 1
        settleQuiet()
        pump()
      })
      .catch(() => {})
  }

  return {
    offer({ version, items }) {
      if (stopped) return
      const to = target.get()
      // No word of the change has come yet, or never will.
      if (to && version > to.version) startAnew()
      const isOpen = !endpoint.isDown() && to?.sending === true && to.version === version
      for (const item of items) {
        intakes.of[item.lane].offer(item, isOpen && deps.room.hasRoom(intakes.buffered()))
      }
      pump()
    },
    wake() {
      intakes.spill()
      pump()
    },
    due() {
      if (clock.now() >= rowsDueMs) {
        rowsDueMs = Number.POSITIVE_INFINITY
        intakes.spill()
      } else if (rowsDueMs !== Number.POSITIVE_INFINITY) {
        // Of two times only the earlier was kept.
        deps.wakeAt(rowsDueMs)
      }
      pump()
    },
    pump,
    async reload() {
      queue.clear()
      target.forget()
      stopped = true
      await quiet()
      // What was claimed or loaded before the attempts ended is of the old state too.
      target.forget()
      if (ended) return
      stopped = false
      endpoint.reset()
      toTable()
      pump()
    },
    async stop() {
      ended = true
      stopped = true
      queue.clear()
      await quiet()
      // What a claim brought meanwhile.
      queue.clear()
    },
    version: () => target.get()?.version,
    isOnRecord: endpoint.isOnRecord,
    idle: () =>
      isQuiet() &&
      queue.waiting() === 0 &&
      // Owed nothing, an endpoint that is down is not asked either. A stopped stream is owed what no claim shows.
      (!endpoint.isDown() || target.get()?.sending === true) &&
      // Of a stream that is gone nothing is ever claimed.
      (target.isGone() || !intakes.needClaim()),
  }
}
