import { describeError } from '../kernel/errors.js'
import type { Health, Worker } from '../kernel/worker.js'
import type { Lane } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import type { LeaseSet } from '../storage/leases.js'
import type { EventContent, OpenDelivery } from './open-delivery.js'
import { createPushAttempt, type PushAttemptOptions } from './push-attempt.js'
import { type ClaimedDelivery, queueRepository } from './queue-repository.js'
import { createResultWriters } from './result-writers.js'
import { createStreamSender, type OfferedRows, type SendItem, type StreamSender } from './stream-sender.js'
import type { StreamTargets } from './stream-target-repository.js'
import { createWaitingRooms, type WaitingLimits } from './waiting-room.js'

export interface SenderOptions extends PushAttemptOptions {
  /** A pool per lane, so that no lane waits for another's statements. */
  readonly pools: Readonly<Record<Lane, Database>>
  readonly leases: LeaseSet
  readonly targets: StreamTargets
  openContent(
    row: Pick<ClaimedDelivery, 'delivery' | 'day' | 'sealedContent'>,
  ): Promise<EventContent | undefined>
  /** Requests in flight per stream. */
  readonly concurrency: number
  readonly waitingLimits?: WaitingLimits
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

/** Requests in flight in the whole process, per lane: a flood in one never takes the room of another. */
const PROCESS_BUDGET: Readonly<Record<Lane, number>> = { control: 64, urgent: 256, routine: 128 }
const SWEEP_MS = 5_000
/** Three sweeps see each row that falls due. */
const SWEEP_BACK_S = 15

interface Entry {
  readonly sender: StreamSender
  readonly shard: number
  timer?: NodeJS.Timeout
  dueMs: number
}

/** Push delivery (RFC 8935): sends for the streams of the delivery shards that this process holds. */
export function createSender(options: SenderOptions): Sender {
  const { clock, leases, logger } = options
  const entries = new Map<string, Entry>()
  const inFlight: Record<Lane, number> = { control: 0, urgent: 0, routine: 0 }
  const starving: Record<Lane, Set<string>> = { control: new Set(), urgent: new Set(), routine: new Set() }
  const attempt = createPushAttempt(options)
  const writers = createResultWriters(options)
  const hinted = new Set<number>()
  const openRoom = createWaitingRooms(options.waitingLimits)
  let followingHints = false
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
    return entry
  }

  function openSender(streamId: string, shard: number): StreamSender {
    return createStreamSender({
      clock,
      lease: () => (stopping ? undefined : leases.get(shard)),
      loadTarget: async () => {
        const target = await options.targets.find(streamId)
        return target?.method === 'push' ? target : undefined
      },
      claim: (lane, page) => claim(streamId, lane, page),
      nextTryMs: (lane, inHand) => queueRepository.nextTryMs(options.pools[lane], streamId, { lane, inHand }),
      attempt,
      writeResult: (lane, result) => writers[lane](result),
      room: openRoom(),
      mayStart(lane) {
        if (inFlight[lane] < PROCESS_BUDGET[lane]) return true
        starving[lane].add(streamId)
        return false
      },
      started: (lane) => {
        inFlight[lane] += 1
      },
      ended: (lane) => {
        inFlight[lane] -= 1
        feedStarving(lane)
      },
      wakeAt: (atMs) => wakeAt(streamId, atMs),
      attemptTimeoutMs: options.attemptTimeoutMs,
      limits,
      onFailing: (reason, failures) =>
        logger.warn('endpoint.failing', { stream_id: streamId, reason, failures }),
      onRecovered: () => logger.info('endpoint.recovered', { stream_id: streamId }),
    })
  }

  /** Room in the budget goes round by stream: the one that has waited longest is next. */
  function feedStarving(lane: Lane): void {
    const [next] = starving[lane]
    if (next === undefined) return
    starving[lane].delete(next)
    entries.get(next)?.sender.pump()
  }

  function wakeAt(streamId: string, atMs: number): void {
    const entry = entries.get(streamId)
    if (!entry || stopping || entry.dueMs <= atMs) return
    clearTimeout(entry.timer)
    entry.dueMs = atMs
    entry.timer = setTimeout(
      () => {
        entry.dueMs = Number.POSITIVE_INFINITY
        entry.sender.wake()
      },
      Math.max(1, Math.min(atMs - clock.now(), 3_600_000)),
    )
  }

  async function claim(streamId: string, lane: Lane, page: { limit: number; inHand: readonly string[] }) {
    const rows = await queueRepository.claimForPush(options.pools[lane], streamId, { lane, ...page })
    const due: SendItem[] = []
    const stale: OpenDelivery[] = []
    const ungranted: OpenDelivery[] = []
    const unreadable: OpenDelivery[] = []
    for (const row of rows) {
      if (!row.granted) ungranted.push(row.delivery)
      else if (row.superseded) stale.push(row.delivery)
      else {
        const content = await options.openContent(row)
        if (content) due.push({ ...row.delivery, content, bytes: row.sealedContent?.length ?? 0 })
        else {
          unreadable.push(row.delivery)
          logger.error('set.unreadable', { stream_id: streamId, event_ids: [row.delivery.eventId] })
        }
      }
    }
    const version = rows[0]?.version
    return { due, stale, ungranted, unreadable, ...(version === undefined ? {} : { version }) }
  }

  async function loadShards(shards: readonly number[], dueWithinS?: number): Promise<void> {
    if (shards.length === 0) return
    const work = await queueRepository.streamsWithWork(options.pools.urgent, shards, dueWithinS)
    for (const { streamId, shard } of work) {
      if (leases.get(shard)) entryOf(streamId, shard).sender.wake()
    }
  }

  function loadLater(shards: readonly number[], dueWithinS?: number): void {
    loadShards(shards, dueWithinS).catch((error: unknown) => {
      logger.warn('shards.load_failed', { shards: shards.length, reason: describeError(error) })
      // The sweep finds them again.
    })
  }

  /** Behind the word of changes: a stream that was changed while nobody listened is read again within seconds. */
  async function reloadChanged(): Promise<void> {
    const inUse = [...entries].filter(([, { sender }]) => sender.version() !== undefined)
    if (inUse.length === 0) return
    const versions = await options.targets.versionsOf(inUse.map(([streamId]) => streamId))
    for (const [streamId, { sender }] of inUse) {
      const version = sender.version()
      if (version !== undefined && version !== versions.get(streamId)) await sender.reload()
    }
  }

  /** A stream without work costs no memory; its next row brings it back. */
  function forgetIdle(): void {
    for (const [streamId, entry] of entries) {
      if (entry.dueMs === Number.POSITIVE_INFINITY && entry.sender.idle()) entries.delete(streamId)
    }
  }

  /** Hints gather while the query for the ones before is under way. */
  async function followHints(): Promise<void> {
    if (followingHints) return
    followingHints = true
    while (hinted.size > 0 && !stopping) {
      const shards = [...hinted]
      hinted.clear()
      await loadShards(shards, SWEEP_BACK_S).catch((error: unknown) => {
        // The sweep finds them again.
        logger.warn('shards.load_failed', { shards: shards.length, reason: describeError(error) })
      })
    }
    followingHints = false
  }

  /** Resolves when nothing of these shards is under way: only then may another process send for them. */
  async function dropShards(lost: readonly number[]): Promise<void> {
    const gone = new Set(lost)
    const ending: Promise<void>[] = []
    for (const [streamId, entry] of entries) {
      if (!gone.has(entry.shard)) continue
      clearTimeout(entry.timer)
      entries.delete(streamId)
      ending.push(entry.sender.stop())
    }
    await Promise.all(ending)
  }

  return {
    name: 'sender',
    async start() {
      leases.onChange(({ gained, lost }) => {
        const dropped = dropShards(lost)
        loadLater(gained.map(({ unit }) => unit))
        return dropped
      })
      await loadShards([...leases.owned().keys()])
      // Behind the hints: a row that nobody announced is found within seconds.
      sweep = setInterval(() => {
        forgetIdle()
        reloadChanged().catch((error: unknown) => {
          logger.warn('streams.check_failed', { reason: describeError(error) })
        })
        loadLater([...leases.owned().keys()], SWEEP_BACK_S)
      }, SWEEP_MS)
    },
    async stop() {
      clearInterval(sweep)
      for (const entry of entries.values()) clearTimeout(entry.timer)
      const stopped = [...entries.values()].map(({ sender }) => sender.stop())
      await Promise.all(stopped)
      stopping = true
      entries.clear()
    },
    health: (): Health => ({ ok: true }),
    offer(streamId, { shard, ...offered }) {
      if (stopping || !leases.get(shard)) return false
      entryOf(streamId, shard).sender.offer(offered)
      return true
    },
    wakeShards(shards) {
      for (const shard of shards) if (leases.get(shard)) hinted.add(shard)
      if (!stopping) void followHints()
    },
    async reloadAll() {
      await Promise.all([...entries.values()].map(({ sender }) => sender.reload()))
    },
    async reload(streamId, shard) {
      if (!leases.get(shard)) return false
      await entryOf(streamId, shard).sender.reload()
      return true
    },
  }
}
