import { setTimeout as delay } from 'node:timers/promises'
import type { BatchHandler } from '../eventlog/event-log.js'
import { isUuid } from '../http/params.js'
import { type Clock, dayOf } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { KeyService } from '../keys/key-service.js'
import { LANES, type Lane } from '../secevent/event.js'
import { SSF } from '../secevent/event-types.js'
import type { Database, Transaction } from '../storage/database.js'
import { hasOwner } from '../storage/lease-repository.js'
import type { LeaseSet } from '../storage/leases.js'
import { SHARD_COUNT, shardOf } from '../streams/stream.js'
import type { StreamMatcher } from '../streams/stream-matching.js'
import type { FailingStreams } from './failing-watch.js'
import { createFanOut, type QueuedDelivery } from './fan-out.js'
import { fanOutCounters } from './fan-out-counters.js'
import { heldOrderRepository } from './held-order-repository.js'
import { createMinter } from './minter.js'
import { type ReceivedDelivery, toSendItem } from './open-delivery.js'
import { createPollService, type PollService } from './poll-service.js'
import { createContentOpener, createEventPreparer } from './prepare-event.js'
import { queueRepository } from './queue-repository.js'
import { resultRepository } from './result-repository.js'
import { createSender, type Sender, type SenderOptions } from './sender.js'
import { createStreamTargets, type OpenSecret } from './stream-target-repository.js'
import type { WaitingLimits } from './waiting-room.js'

/** LISTEN/NOTIFY between processes: hints only. */
export interface Hints {
  notify(channel: string, payload: string): void
  on(channel: string, listener: (payload: string) => void): void
}

export interface DeliveryOptions {
  readonly pools: Readonly<Record<Lane | 'polls' | 'api' | 'system', Database>>
  readonly leases: LeaseSet
  readonly hints: Hints
  readonly keys: KeyService
  readonly match: StreamMatcher
  readonly post: SenderOptions['post']
  readonly issuer: string
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly attemptTimeoutMs: number
  readonly concurrency: number
  /** Absent: no stream is paused for failing. */
  readonly failing?: FailingStreams
  /** Of what waits in memory. */
  readonly waitingLimits?: WaitingLimits
  readonly maxReady?: SenderOptions['maxReady']
  readonly holdMs: number
  readonly dedupeWindowDays: number
  /** Makes the partitions of one day (`YYYY-MM-DD`): a hub that slept may find events of days it never saw. */
  ensureDay(day: string): Promise<void>
  /** The receiver was heard of on this stream: room streams. */
  touchStream(streamId: string): Promise<void>
  /** A SET was received: for the time-to-revoke metric. */
  onReceived(type: string, tookMs: number): void
  /** A verification event was received: room streams. */
  onVerified(streamId: string): Promise<void>
}

export interface Delivery {
  /** What the log's subscriptions call, a lane each. */
  readonly fanOut: Readonly<Record<Lane, BatchHandler>>
  readonly sender: Sender
  readonly polls: PollService
  /** A stream's row changed and is committed: true once the process that sends for it has taken note. */
  streamChanged(streamId: string): Promise<boolean>
  /** Drops the open work of a stream that is disabled or deleted. */
  discard(trx: Transaction, streamId: string, outcome: 'deleted' | 'discarded'): Promise<void>
  /** What a stream that is about to be enabled held goes out oldest first, by subject. */
  putHeldInOrder(trx: Transaction, streamId: string): Promise<void>
  /** There is work again for this stream in the table. */
  wake(streamId: string): void
}

const SHARDS_CHANNEL = 'delivery_shards'
const CHANGED_CHANNEL = 'stream_changed'
const CONFIRMED_CHANNEL = 'stream_confirmed'
/** Design: pausing answers within a second, confirmed or not. */
const CONFIRM_TIMEOUT_MS = 1_000
const ALL_SHARDS = Array.from({ length: SHARD_COUNT }, (_, shard) => shard)
const isShard = (value: number) => Number.isInteger(value) && value >= 0 && value < SHARD_COUNT

/** Wires the room: fan-out hands rows over in memory or by a hint; push and poll take them from there. */
export function createDelivery(options: DeliveryOptions): Delivery {
  const { keys, hints, logger, metrics, clock } = options
  const processMark = newId()
  const openContent = createContentOpener(keys)
  const openSecret: OpenSecret = (sealed, context) => keys.open(sealed, context)
  const minter = createMinter({
    issuer: options.issuer,
    signer: (alg) => keys.setSigner(alg),
    jtis: keys.jtis,
  })
  const received = (delivery: ReceivedDelivery): void => {
    if (delivery.type === SSF.verification) {
      options.onVerified(delivery.streamId).catch((error: unknown) => {
        logger.warn('stream.verified_unwritten', {
          stream_id: delivery.streamId,
          reason: describeError(error),
        })
      })
    } else if (delivery.type !== SSF.streamUpdated) {
      options.onReceived(delivery.type, clock.now() - delivery.acceptedAtMs)
    }
  }
  // No lane and no caller of the API may keep a stream's endpoint from being read.
  const targets = createStreamTargets(options.pools.system, openSecret)
  const sender = createSender({ ...options, received, targets, minter, openContent })
  const polls = createPollService({
    ...options,
    received,
    db: options.pools.polls,
    targets: createStreamTargets(options.pools.polls, openSecret),
    minter,
    jtis: keys.jtis,
    openContent,
  })
  const prepare = createEventPreparer(keys)
  const madeDays = new Set<string>()
  async function ensureDays(days: readonly string[]): Promise<void> {
    for (const day of days) {
      if (!madeDays.has(day)) await options.ensureDay(day)
      madeDays.add(day)
    }
  }

  function handOver(queued: readonly QueuedDelivery[]): void {
    const elsewhere = new Set<number>()
    const queuedAtMs = clock.now()
    for (const [streamId, rows] of groupByStream(queued)) {
      const [first] = rows
      if (!first) continue
      const { shard } = first.delivery
      if (first.method === 'poll') {
        polls.wake(streamId)
        elsewhere.add(shard)
      } else {
        const items = rows.map((row) => toSendItem(row.delivery, { attempts: 0, queuedAtMs }, row))
        if (!sender.offer(streamId, { shard, version: first.version, items })) elsewhere.add(shard)
      }
    }
    if (elsewhere.size > 0) hints.notify(SHARDS_CHANNEL, `${processMark}:${[...elsewhere].join(',')}`)
  }

  const counters = fanOutCounters(metrics)
  const fanOut = {} as Record<Lane, BatchHandler>
  for (const lane of LANES) {
    fanOut[lane] = createFanOut({
      db: options.pools[lane],
      logger,
      counters,
      dedupeWindowDays: options.dedupeWindowDays,
      ensureDays,
      prepare,
      match: options.match,
      sealRecord: async (record) => (await keys.contentCipher(dayOf(clock.now()))).seal(record),
      handOver,
    })
  }

  const confirmations = new Map<string, () => void>()
  hints.on(SHARDS_CHANNEL, (payload) => {
    const [mark, list = ''] = payload.split(':')
    if (mark === processMark) return
    // Without a payload something may have been missed: look at all.
    const shards = payload === '' ? ALL_SHARDS : list.split(',').map(Number).filter(isShard)
    polls.wakeShards(new Set(shards))
    sender.wakeShards(shards)
  })
  hints.on(CONFIRMED_CHANNEL, (requestId) => confirmations.get(requestId)?.())
  hints.on(CHANGED_CHANNEL, (payload) => {
    const [mark, requestId = '', streamId = ''] = payload.split(':')
    if (mark === processMark) return
    const noteTrouble = (error: unknown) =>
      logger.warn('stream.reload_failed', { stream_id: streamId, reason: describeError(error) })
    if (payload === '') {
      sender.reloadAll().catch(noteTrouble)
      return
    }
    // Whoever may NOTIFY may write anything.
    if (!isUuid(streamId)) return
    polls.wake(streamId)
    sender
      .reload(streamId, shardOf(streamId))
      .then((owned) => owned && hints.notify(CONFIRMED_CHANNEL, requestId))
      .catch(noteTrouble)
  })

  async function confirmedElsewhere(streamId: string, requestId: string): Promise<boolean> {
    const confirmed = new Promise<boolean>((resolve) => {
      confirmations.set(requestId, () => resolve(true))
    })
    try {
      hints.notify(CHANGED_CHANNEL, `${processMark}:${requestId}:${streamId}`)
      // Without a living owner nothing is being sent: whoever takes the shard reads the stream afresh.
      if (!(await hasOwner(options.pools.api, 'delivery', shardOf(streamId)))) return true
      return await Promise.race([confirmed, delay(CONFIRM_TIMEOUT_MS, false)])
    } finally {
      confirmations.delete(requestId)
    }
  }

  return {
    fanOut,
    sender,
    polls,
    async streamChanged(streamId) {
      polls.wake(streamId)
      const requestId = newId()
      const local = sender.reload(streamId, shardOf(streamId))
      const owned = await Promise.race([local, delay(CONFIRM_TIMEOUT_MS, undefined)])
      if (owned === undefined) return false
      if (!owned) return confirmedElsewhere(streamId, requestId)
      hints.notify(CHANGED_CHANNEL, `${processMark}:${requestId}:${streamId}`)
      return true
    },
    async discard(trx, streamId, outcome) {
      await resultRepository.discardStream(trx, streamId, outcome)
    },
    putHeldInOrder: (trx, streamId) => heldOrderRepository.putInOrder(trx, streamId),
    wake(streamId) {
      polls.wake(streamId)
      const shard = shardOf(streamId)
      sender.wakeShards([shard])
      hints.notify(SHARDS_CHANNEL, `${processMark}:${shard}`)
    },
  }
}

function groupByStream(queued: readonly QueuedDelivery[]): Map<string, QueuedDelivery[]> {
  const groups = new Map<string, QueuedDelivery[]>()
  for (const row of queued) {
    const group = groups.get(row.delivery.streamId)
    if (group) group.push(row)
    else groups.set(row.delivery.streamId, [row])
  }
  return groups
}

/** Gauges of the backlog, read when scraped. */
export function exposeBacklog(metrics: Metrics, db: Database): void {
  const open = metrics.gauge('firebreak_open_deliveries', 'Deliveries not yet received.', ['lane'])
  const age = metrics.gauge('firebreak_open_delivery_oldest_seconds', 'Age of the oldest open delivery.', [
    'lane',
  ])
  metrics.beforeScrape(async () => {
    const counts = new Map((await queueRepository.countOpen(db)).map((row) => [row.lane, row]))
    LANES.forEach((lane, number) => {
      open.set(counts.get(number)?.count ?? 0, { lane })
      age.set(counts.get(number)?.oldestAgeS ?? 0, { lane })
    })
  })
}
