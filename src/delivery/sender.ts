import { describeError } from '../kernel/errors.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { Lane } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import type { LeaseSet } from '../storage/leases.js'
import { createFailingWatch, type FailingStreams } from './failing-watch.js'
import { createOpenWork } from './open-work.js'
import { createPushAttempt, type PushAttemptOptions } from './push-attempt.js'
import { createPushClaims, type PushClaimsOptions } from './push-claims.js'
import { queueRepository } from './queue-repository.js'
import { createResultWriters } from './result-writers.js'
import { createSendPlaces } from './send-places.js'
import { createStreamSender, type OfferedRows, type StreamSender } from './stream-sender.js'
import type { StreamTarget, StreamTargets } from './stream-target-repository.js'
import { createWaitingRooms, type WaitingLimits } from './waiting-room.js'

export interface SenderOptions extends PushAttemptOptions, PushClaimsOptions {
  /** Absent: no stream is paused. */
  readonly failing?: FailingStreams
  /** A pool per lane, so that no lane waits for another's statements. */
  readonly pools: Readonly<Record<Lane, Database>>
  readonly leases: LeaseSet
  readonly targets: StreamTargets
  /** Requests in flight per stream. */
  readonly concurrency: number
  readonly waitingLimits?: WaitingLimits
  /** Streams in memory, at about 20 KB each; with more, those that are owed nothing are forgotten, the longest first. Default 5,000. */
  readonly maxReady?: number | undefined
}

export interface Sender extends Worker {
  /** Rows just queued for a stream whose shard this process owns. Others are refused: false. */
  offer(streamId: string, offered: OfferedRows & { readonly shard: number }): boolean
  /** There is new work in the table for these shards. */
  wakeShards(shards: readonly number[]): void
  /** Reads the stream again; resolves when nothing of the old state is under way. False: not the owner. */
  reload(streamId: string, shard: number): Promise<boolean>
  /** Reads every stream in hand again: a change may have been announced while nobody listened. */
  reloadAll(): Promise<void>
}

const SWEEP_MS = 5_000
/**
 * A stream that is owed nothing stays in memory so long, ready to send: to read it afresh, and what the table holds of it in each lane,
 * cost four statements, and the first event after a rest to 1,000 receivers 4,000.
 */
const READY_MS = 15 * 60_000
/** So many of them are read again at each sweep, to see what changed. */
const READY_PER_SWEEP = 1_000
const MAX_READY = 5_000
/** Revocations wait for it still, so it is asked as often as what only a person can mend. */
const PAUSED_PROBE_MS = 30_000

interface Entry {
  readonly sender: StreamSender
  readonly shard: number
  timer?: NodeJS.Timeout
  dueMs: number
  /** Monotonic; undefined while it is owed something. */
  idleSinceMs?: number | undefined
}

/** Push delivery (RFC 8935): sends for the streams of the delivery shards that this process holds. */
export function createSender(options: SenderOptions): Sender {
  const { clock, leases, logger, maxReady = MAX_READY } = options
  const entries = new Map<string, Entry>()
  const places = createSendPlaces({ wake: (streamId) => entries.get(streamId)?.sender.pump() })
  const inFlight = options.metrics.gauge(
    'firebreak_push_in_flight',
    'Push attempts under way, by how endpoints answer.',
    ['lane', 'endpoints'],
  )
  options.metrics.beforeScrape(async () => {
    for (const { lane, standing, count } of places.inFlight())
      inFlight.set(count, { lane, endpoints: standing })
  })
  const attempt = createPushAttempt(options)
  const claim = createPushClaims(options)
  const writers = createResultWriters(options)
  const failing = createFailingWatch({
    db: options.pools.routine,
    lease: (shard) => leases.get(shard),
    clock,
    logger,
    metrics: options.metrics,
    failing: options.failing,
  })
  const work = createOpenWork({
    db: options.pools.control,
    logger,
    isOwned: (shard) => !stopping && leases.get(shard) !== undefined,
    found: (streamId, shard) => entryOf(streamId, shard).sender.wake(),
  })
  const openRoom = createWaitingRooms(options.waitingLimits)
  let checking = false
  let sweeps = 0
  let stopping = false
  let sweep: NodeJS.Timeout | undefined

  const limits: Record<Lane, number> = {
    control: Math.max(2, Math.ceil(options.concurrency / 3)),
    urgent: options.concurrency,
    routine: Math.max(1, Math.ceil(options.concurrency / 2)),
  }

  function entryOf(streamId: string, shard: number): Entry {
    let entry = entries.get(streamId)
    if (!entry) {
      entry = { sender: openSender(streamId, shard), shard, dueMs: Number.POSITIVE_INFINITY }
      entries.set(streamId, entry)
    }
    // Asked for because there is something to do: no sweep may come while that lasts.
    entry.idleSinceMs = undefined
    return entry
  }

  function openSender(streamId: string, shard: number): StreamSender {
    let endpoint = ''
    return createStreamSender({
      clock,
      lease: () => (stopping ? undefined : leases.get(shard)),
      loadTarget: async () => {
        const target = await options.targets.find(streamId)
        endpoint = endpointOf(target)
        return target?.method === 'push' ? target : undefined
      },
      onUnreadable(error) {
        logger.warn('stream.unreadable', { stream_id: streamId, reason: describeError(error) })
      },
      onReadable: () => logger.info('stream.readable', { stream_id: streamId }),
      claim: (page) => claim(streamId, page),
      onUnclaimed(lane, error) {
        logger.warn('lane.unclaimed', { stream_id: streamId, lane, reason: describeError(error) })
      },
      onClaimable: (lane) => logger.info('lane.claimable', { stream_id: streamId, lane }),
      nextTryMs: (page) => queueRepository.nextTryMs(options.pools[page.lane], streamId, page),
      async attempt(item, target) {
        const leave = places.take(item.lane, endpointOf(target))
        return await attempt(item, target).finally(leave)
      },
      writeResult: (lane, result) => writers[lane](result),
      room: openRoom(),
      mayStart: (lane) => places.mayStart(lane, streamId, endpoint),
      wakeAt: (atMs) => wakeAt(streamId, atMs),
      attemptTimeoutMs: options.attemptTimeoutMs,
      limits,
      onFailing: failing.note,
      onRecovered: () => failing.recovered(streamId, shard),
      onUnasked: () => failing.unasked(streamId, shard),
      enable: () => enable(streamId),
      pausedProbeMs: options.failing?.probeEveryMs ?? PAUSED_PROBE_MS,
    })
  }

  async function enable(streamId: string): Promise<void> {
    try {
      await options.failing?.enable(streamId)
    } catch (error) {
      logger.warn('stream.enable_failed', { stream_id: streamId, reason: describeError(error) })
      throw error
    }
  }

  function wakeAt(streamId: string, atMs: number): void {
    const entry = entries.get(streamId)
    if (!entry || stopping || entry.dueMs <= atMs) return
    clearTimeout(entry.timer)
    entry.dueMs = atMs
    entry.timer = setTimeout(
      () => {
        entry.dueMs = Number.POSITIVE_INFINITY
        entry.sender.due()
      },
      // Whole, for a timer cuts fractions off and would come early.
      Math.max(1, Math.ceil(Math.min(atMs - clock.now(), 3_600_000))),
    )
  }

  /** Behind the word of changes: a stream that was changed while nobody listened is read again within seconds. */
  async function reloadChanged(): Promise<void> {
    sweeps += 1
    const parts = Math.ceil(entries.size / READY_PER_SWEEP)
    // Those that are owed nothing in turn: what fan-out hands over tells of a newer version too.
    const inUse = [...entries].filter(
      ([, { sender, idleSinceMs }], index) =>
        sender.version() !== undefined && (idleSinceMs === undefined || index % parts === sweeps % parts),
    )
    if (inUse.length === 0 || checking) return
    checking = true
    const versions = await options.targets.versionsOf(inUse.map(([streamId]) => streamId)).finally(() => {
      checking = false
    })
    // Each waits for the attempts of its own stream to end, and for no other's.
    await Promise.all(
      inUse.map(async ([streamId, { sender }]) => {
        const version = sender.version()
        if (version !== undefined && version !== versions.get(streamId)) await sender.reload()
      }),
    )
  }

  /** Behind all that wakes a stream: one with work that waits for no time is never left without a look. */
  function pumpAll(): void {
    for (const { sender, dueMs } of entries.values()) if (dueMs === Number.POSITIVE_INFINITY) sender.pump()
  }

  /** Their next row brings them back. The one that has rested longest first. */
  function restingEntries(nowMs: number): [string, Entry][] {
    for (const entry of entries.values()) {
      if (entry.dueMs === Number.POSITIVE_INFINITY && entry.sender.idle()) entry.idleSinceMs ??= nowMs
      else entry.idleSinceMs = undefined
    }
    return [...entries]
      .filter(([, { idleSinceMs }]) => idleSinceMs !== undefined)
      .sort(([, a], [, b]) => (a.idleSinceMs ?? 0) - (b.idleSinceMs ?? 0))
  }

  /** @param readyMs those that are owed nothing stay so long */
  function forgetIdle(readyMs = READY_MS): void {
    const nowMs = clock.monotonicMs()
    for (const [streamId, entry] of restingEntries(nowMs)) {
      // Deleted, polled now, or owed nothing any more: nobody will tell that its endpoint answers.
      const isUnasked = entry.sender.version() === undefined || entry.sender.isOnRecord()
      const hasRested = nowMs - (entry.idleSinceMs ?? nowMs) >= readyMs
      if (!isUnasked && !hasRested && entries.size <= maxReady) continue
      entries.delete(streamId)
      if (isUnasked) failing.unasked(streamId, entry.shard)
    }
  }

  /** Resolves when nothing of these shards is under way: only then may another process send for them. */
  async function dropShards(lost: readonly number[]): Promise<void> {
    const gone = new Set(lost)
    const ending: Promise<void>[] = []
    for (const [streamId, entry] of entries) {
      if (!gone.has(entry.shard)) continue
      clearTimeout(entry.timer)
      entries.delete(streamId)
      failing.forget([streamId])
      ending.push(entry.sender.stop())
    }
    await Promise.all(ending)
  }

  return {
    name: 'sender',
    async start() {
      leases.onChange(({ gained, lost }) => {
        const dropped = dropShards(lost)
        void work.look(gained.map(({ unit }) => unit))
        return dropped
      })
      failing.start()
      await work.look([...leases.owned().keys()])
      // Behind the hints: a row that nobody announced is found within seconds.
      sweep = setInterval(() => {
        forgetIdle()
        pumpAll()
        reloadChanged().catch((error: unknown) => {
          logger.warn('streams.check_failed', { reason: describeError(error) })
        })
        work.lookAgain([...leases.owned().keys()])
      }, SWEEP_MS)
    },
    async stop() {
      clearInterval(sweep)
      await Promise.all([...entries.values()].map(({ sender }) => sender.stop()))
      await failing.stop()
      stopping = true
      // Only now: results that were written meanwhile have asked for a time as well.
      for (const { timer } of entries.values()) clearTimeout(timer)
      entries.clear()
    },
    health: (): Health => ({ ok: true }),
    offer(streamId, { shard, ...offered }) {
      if (stopping || !leases.get(shard)) return false
      entryOf(streamId, shard).sender.offer(offered)
      return true
    },
    wakeShards(shards) {
      if (!stopping) work.hint(shards)
    },
    async reloadAll() {
      // Just after the database was away is no time to read streams that nothing is sent to.
      forgetIdle(0)
      await Promise.all([...entries.values()].map(({ sender }) => sender.reload()))
    },
    async reload(streamId, shard) {
      if (!leases.get(shard)) return false
      await entryOf(streamId, shard).sender.reload()
      return true
    },
  }
}

/** The origin: streams of one share its sockets. */
function endpointOf(target: StreamTarget | undefined): string {
  return target?.endpointUrl ? new URL(target.endpointUrl).origin : ''
}
