import { LRUCache } from 'lru-cache'
import type { Clock } from '../kernel/clock.js'
import { describeError, NotFound } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { CounterMetric, Metrics } from '../kernel/metrics.js'
import { present } from '../kernel/present.js'
import { createWake, type Wake } from '../kernel/wake.js'
import type { JtiCodec } from '../secevent/delivery-jti.js'
import { type Database, inTransaction, type Transaction } from '../storage/database.js'
import { shardOf } from '../streams/stream.js'
import { UNREADABLE, UNREADABLE_REASON } from './attempt-result.js'
import type { Minter } from './minter.js'
import type { EventContent, ReceivedDelivery } from './open-delivery.js'
import { chooseForPoll, type UnfitReason, type UnfitRow } from './poll-choice.js'
import { selectForPoll } from './poll-selection.js'
import { type ClaimedDelivery, queueRepository } from './queue-repository.js'
import { resultRepository } from './result-repository.js'
import type { StreamTarget, StreamTargets } from './stream-target-repository.js'

export interface PollRequest {
  /** Absent: as many as the hub gives at once. 0: acknowledge only. */
  readonly maxEvents?: number
  readonly returnImmediately?: boolean
  readonly ack?: readonly string[]
  readonly setErrs?: Readonly<Record<string, { err: string; description?: string }>>
}

export interface PollAnswer {
  readonly sets: Readonly<Record<string, string>>
  readonly moreAvailable: boolean
}

export interface PollServiceOptions {
  readonly db: Database
  readonly targets: StreamTargets
  readonly minter: Minter
  readonly jtis: JtiCodec
  openContent(
    row: Pick<ClaimedDelivery, 'delivery' | 'day' | 'sealedContent'>,
  ): Promise<EventContent | undefined>
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  /** How long an empty long poll is held, ms. */
  readonly holdMs: number
  /** The receiver was heard of on this stream. */
  touchStream(streamId: string): Promise<void>
  received(delivery: ReceivedDelivery): void
}

export interface PollCall {
  /** The receiver has gone. */
  readonly aborted: AbortSignal
  /** Throws when the token has ended since: a held poll must not outlive it. */
  checkAccess(): Promise<void>
}

export interface PollService {
  /** RFC 8936 §2.4: acknowledges first, then selects. Throws NotFound for a stream that is not the receiver's. */
  poll(receiverId: string, streamId: string, request: PollRequest, call: PollCall): Promise<PollAnswer>
  /** There is new work, or a changed status, on this stream. */
  wake(streamId: string): void
  /** There may be new work on any stream of these shards. */
  wakeShards(shards: ReadonlySet<number>): void
  /** Answers all held polls now, and holds none from here on. */
  drain(): void
}

const DEFAULT_SETS = 100
/** SETs of about 1 KB: an answer stays below a megabyte. */
const MAX_SETS = 500
/** Held polls in one process: well below the connections that the server takes. */
const MAX_HELD = 2_000
/** A receiver needs one; more of them than this only hold connections. */
const MAX_HELD_PER_STREAM = 4
/** Behind the wake-ups: a row that nobody announced is found within this time, ms. */
const RECHECK_MS = 2_000
const MAX_DESCRIPTION_CHARS = 2_000
const TOUCH_EVERY_MS = 60_000
/** Of a stream with a backlog: other causes wait this much longer at most, and a drain pays for the look a few times a second. */
const LOOK_ASIDE_EVERY_MS = 250
const NOTHING: PollAnswer = { sets: {}, moreAvailable: false }

interface HeldPoll {
  readonly wake: Wake
  dismissed: boolean
}

/** RFC 8936 poll delivery. Any process may serve any stream: what is owed stands in the table until acknowledged. */
export function createPollService(options: PollServiceOptions): PollService {
  const { db, clock } = options
  const waiting = new Map<string, Set<HeldPoll>>()
  const instruments = pollMetrics(options.metrics)
  const touched = new LRUCache<string, number>({ max: 50_000 })
  const lookedAside = new LRUCache<string, number>({ max: 50_000 })
  let held = 0
  let draining = false

  /** The newest polls of a stream are held; the oldest is answered instead when there are too many. */
  function register(streamId: string): { poll: HeldPoll; leave(): void } {
    const poll: HeldPoll = { wake: createWake(), dismissed: false }
    const polls = waiting.get(streamId) ?? new Set()
    const [oldest] = polls
    if (oldest && polls.size >= MAX_HELD_PER_STREAM) dismiss(oldest, polls)
    waiting.set(streamId, polls.add(poll))
    held += 1
    return {
      poll,
      leave() {
        held -= 1
        polls.delete(poll)
        if (polls.size === 0) waiting.delete(streamId)
      },
    }
  }

  function dismiss(poll: HeldPoll, polls: Set<HeldPoll>): void {
    poll.dismissed = true
    polls.delete(poll)
    poll.wake.ring()
  }

  async function findOwn(receiverId: string, streamId: string): Promise<StreamTarget> {
    // By both at once: a stream of another's is not even read, so it takes no other time than one that is not there.
    const target = await options.targets.findOwn(receiverId, streamId)
    if (target?.method !== 'poll') {
      throw new NotFound('There is no poll stream with this id.')
    }
    return target
  }

  /** A poll restarts the inactivity timer of a poll stream (SSF 1.0 §8.1.1); a minute's precision is enough. */
  async function touch(streamId: string): Promise<void> {
    if (isDue(touched, streamId, TOUCH_EVERY_MS)) await options.touchStream(streamId)
  }

  /** Whether it was not done for this stream in that time, ms. Then it counts as done now. */
  function isDue(done: LRUCache<string, number>, streamId: string, everyMs: number): boolean {
    const now = clock.monotonicMs()
    if (now - (done.get(streamId) ?? Number.NEGATIVE_INFINITY) < everyMs) return false
    done.set(streamId, now)
    return true
  }

  /** Acks and errors count even while the stream is paused: refusing them would lose what the receiver knows. */
  async function settle({ receiverId, streamId }: StreamTarget, request: PollRequest): Promise<void> {
    // What is no jti of this receiver's is ignored, like one that was acknowledged long ago.
    const eventOf = (jti: string) => options.jtis.read(jti, receiverId)
    const errors = Object.entries(request.setErrs ?? {}).flatMap(([jti, { err, description = '' }]) => {
      const eventId = eventOf(jti)
      return eventId ? [{ eventId, err, description: description.slice(0, MAX_DESCRIPTION_CHARS) }] : []
    })
    const acks = (request.ack ?? []).flatMap((jti) => eventOf(jti) ?? [])
    if (acks.length === 0 && errors.length === 0) return
    const now = clock.now()
    const [acked, refused] = await inTransaction(db, async (trx) => {
      const settled = Promise.all([
        acks.length > 0 ? resultRepository.acknowledge(trx, streamId, acks, now) : [],
        errors.length > 0 ? resultRepository.reject(trx, streamId, errors) : [],
      ])
      trx.commit()
      return await settled
    })
    for (const delivery of acked) options.received({ ...delivery, streamId })
    instruments.sets.add({ result: 'acknowledged' }, acked.length)
    instruments.sets.add({ result: 'refused' }, refused.length)
    if (refused.length > 0)
      options.logger.warn('set.refused', {
        stream_id: streamId,
        jtis: refused.map((eventId) => options.jtis.mint(eventId, receiverId)),
      })
  }

  async function select(target: StreamTarget, limit: number): Promise<PollAnswer> {
    const looksAside = () => isDue(lookedAside, target.streamId, LOOK_ASIDE_EVERY_MS)
    const { rows, moreAvailable } = await selectForPoll(db, target.streamId, { limit, looksAside })
    const { sets: chosen, unfit, cutShort, fault } = await chooseForPoll(options, rows, limit)
    await endUnfit(target, unfit)
    if (fault !== undefined) {
      if (chosen.length === 0) throw fault
      options.logger.warn('poll.unopened', { stream_id: target.streamId, reason: describeError(fault) })
    }
    // A page of nothing but unfit rows hides what is behind it.
    if (unfit.length === rows.length && moreAvailable) return select(target, limit)
    if (chosen.length === 0) return NOTHING
    const tokens = await Promise.all(
      chosen.map(({ row, content }) => options.minter.mint(row.delivery, content, target)),
    )
    const newly = chosen.filter(({ row }) => !row.delivered)
    await queueRepository.markDelivered(
      db,
      target.streamId,
      newly.map(({ row }) => row.delivery.eventId),
      clock.now(),
    )
    instruments.sets.add({ result: 'handed_out' }, chosen.length)
    const sets = Object.fromEntries(
      chosen.map(({ row }, index) => [options.minter.jtiOf(row.delivery), tokens[index] as string]),
    )
    return { sets, moreAvailable: moreAvailable || cutShort }
  }

  async function endUnfit({ streamId }: StreamTarget, unfit: readonly UnfitRow[]): Promise<void> {
    if (unfit.length === 0) return
    const byReason = new Map<string, { reason: UnfitReason; eventIds: string[] }>()
    for (const { row, reason } of unfit) {
      const key = reason.failure ?? reason.outcome
      const known = byReason.get(key) ?? { reason, eventIds: [] }
      byReason.set(key, known)
      known.eventIds.push(row.delivery.eventId)
    }
    await db.transaction(async (trx) => {
      for (const { reason, eventIds } of byReason.values()) {
        const { outcome, failure } = reason
        if (outcome === 'parked') await park(trx, streamId, eventIds)
        else
          await resultRepository.finishUnsent(trx, streamId, { eventIds, outcome, ...present({ failure }) })
      }
    })
    for (const { reason, eventIds } of byReason.values()) {
      if (reason.outcome === 'superseded') continue
      instruments.sets.add({ result: reason.outcome }, eventIds.length)
      const line = { stream_id: streamId, event_ids: eventIds }
      if (reason.outcome === 'parked') options.logger.error('set.unreadable', line)
      else options.logger.warn('set.discarded', { ...line, reason: reason.failure })
    }
  }

  return {
    async poll(receiverId, streamId, request, { aborted, checkAccess }) {
      const began = clock.monotonicMs()
      let target = await findOwn(receiverId, streamId)
      await settle(target, request)
      await touch(streamId)
      if (request.maxEvents === 0) return NOTHING
      const limit = Math.min(request.maxEvents ?? DEFAULT_SETS, MAX_SETS)
      const holdMs = request.returnImmediately || held >= MAX_HELD ? 0 : options.holdMs
      const { poll, leave } = register(streamId)
      const onAbort = () => poll.wake.ring()
      aborted.addEventListener('abort', onAbort)
      try {
        for (;;) {
          const mayAnswer = target.sending || target.noticesOnly
          const answer = mayAnswer ? await select(target, limit) : NOTHING
          const leftMs = holdMs - (clock.monotonicMs() - began)
          const isOver = leftMs <= 0 || draining || aborted.aborted || poll.dismissed
          if (Object.keys(answer.sets).length > 0 || isOver) return answer
          await poll.wake.wait(Math.min(leftMs, RECHECK_MS))
          await checkAccess()
          target = await findOwn(receiverId, streamId)
        }
      } finally {
        aborted.removeEventListener('abort', onAbort)
        leave()
      }
    },
    wake(streamId) {
      for (const { wake } of waiting.get(streamId) ?? []) wake.ring()
    },
    wakeShards(shards) {
      for (const [streamId, polls] of waiting) {
        if (shards.has(shardOf(streamId))) for (const { wake } of polls) wake.ring()
      }
    },
    drain() {
      draining = true
      for (const polls of waiting.values()) for (const { wake } of polls) wake.ring()
    },
  }
}

async function park(trx: Transaction, streamId: string, eventIds: readonly string[]): Promise<void> {
  const errors = eventIds.map((eventId) => ({ eventId, err: UNREADABLE, description: UNREADABLE_REASON }))
  await resultRepository.reject(trx, streamId, errors)
}

function pollMetrics(metrics: Metrics): { sets: CounterMetric } {
  return {
    sets: metrics.counter('firebreak_poll_sets_total', 'SETs of poll streams, by what happened.', ['result']),
  }
}
