import type { Transmitter } from '../ingest/transmitter.js'
import { describeError } from '../kernel/errors.js'
import { ingestUrl } from '../kernel/issuer-url.js'
import { createWake } from '../kernel/wake.js'
import { AddressRefused } from '../outgoing/outgoing-errors.js'
import type { Database } from '../storage/database.js'
import { backoffMs, rest } from './backoff.js'
import { reasonOf } from './poll-loop.js'
import {
  type Duty,
  MAX_WAIT_MS,
  newDuties,
  postpone,
  requestVerification,
  statusEveryMs,
  verificationDueMs,
} from './stream-duties.js'
import { createStreamPolls, type StreamPollsOptions } from './stream-polls.js'
import { DESCRIPTION_START, setUpStream } from './stream-setup.js'
import { UpstreamFailed, UpstreamMistrusted } from './upstream-errors.js'
import { eventsMissing } from './upstream-service.js'
import { openSession, type SessionOptions, type UpstreamSession } from './upstream-session.js'
import type { UpstreamStream } from './upstream-stream.js'
import { upstreamStreamRepository as repository } from './upstream-stream-repository.js'

export interface KeeperOptions
  extends SessionOptions,
    Pick<StreamPollsOptions, 'db' | 'clock' | 'logger' | 'polls' | 'take'> {
  hubIssuer: string
  transmitters: {
    find(id: string): Promise<Transmitter | undefined>
    /** In the given transaction. */
    pinAudience(trx: Database, id: string, audience: readonly string[]): Promise<unknown>
    /** After the commit. */
    changed(): Promise<void>
  }
}

/** Keeps one stream until it is stopped. */
export interface StreamKeeper {
  /** The row may have changed. */
  ring(): void
  /** Resolves once nothing more is asked of the transmitter, and what was taken has been acknowledged. */
  stop(): Promise<void>
}

/** Behind the hints: a change is seen within this time. */
const LOOK_EVERY_MS = 5_000
const MIN_WAIT_MS = 20
const LEAVE_TRIES = 8
/** A stream that was lost sooner than this after it was made counts with the one lost before. */
const LASTING_MS = 60_000

export function startStreamKeeper(transmitterId: string, options: KeeperOptions): StreamKeeper {
  const { db, clock, logger } = options
  const wake = createWake()
  const ended = new AbortController()
  let session: UpstreamSession | undefined
  let duties = newDuties()
  let dutiesOf: number | undefined
  /** Streams lost in a row, none of which lasted. */
  let losses = 0
  let madeAtMs = Number.NEGATIVE_INFINITY
  const polls = createStreamPolls({ ...options, gone, ring: wake.ring })

  function sessionOf(stream: UpstreamStream): UpstreamSession {
    if (session?.version !== stream.version) {
      session = openSession(stream, { ...options, signal: ended.signal })
      // A session that was forgotten is opened again with the duties as they stand.
      if (dutiesOf !== stream.version) duties = newDuties()
      dutiesOf = stream.version
    }
    return session
  }

  /** The transmitter may have moved: its metadata and its token endpoint are read anew. */
  function forgetEndpoints(): void {
    session = undefined
  }

  /** Does one duty if it is due; its failures are noted and put it off. @returns the time until it is due again, ms */
  async function perform(duty: Duty, stream: UpstreamStream, work: () => Promise<unknown>): Promise<number> {
    if (!duty.isOffered) return LOOK_EVERY_MS
    if (clock.monotonicMs() >= duty.dueAtMs) {
      try {
        if ((await work()) !== 'not yet') {
          // Another process may have noted it. Of verifications the event takes it away, not the request.
          const isNoted = stream.lastErrorOf === duty.of && duty.of !== 'verification'
          if (duty.failures > 0 || isNoted) await repository.clearError(db, transmitterId, duty.of)
          duty.failures = 0
        }
      } catch (error) {
        await failed(duty, stream, error)
      }
    }
    return duty.dueAtMs - clock.monotonicMs()
  }

  async function failed(duty: Duty, stream: UpstreamStream, error: unknown): Promise<void> {
    const reason = reasonOf(error)
    const fields = { transmitter_id: transmitterId, of: duty.of, reason: describeError(error) }
    if (error instanceof UpstreamMistrusted) {
      logger.error('upstream.stopped', fields)
      await repository.stop(db, stream, reason)
      return
    }
    postpone(duty, error, clock.monotonicMs())
    if (duty.of === 'setup') forgetEndpoints()
    logger.warn('upstream.failed', { ...fields, failures: duty.failures })
    await repository.noteError(db, transmitterId, duty.of, reason)
  }

  async function setUp(stream: UpstreamStream): Promise<void> {
    const { authorization, management } = sessionOf(stream)
    const client = await management()
    const established = await setUpStream(stream, {
      client,
      ingestUrl: ingestUrl(options.hubIssuer, transmitterId),
      authorization,
      description: `${DESCRIPTION_START}${options.hubIssuer} ${transmitterId}`,
      isTaken: (streamId) => repository.isHeldByAnother(db, stream, streamId),
      async checkUrl(url) {
        try {
          await options.outgoing.checkUrl(url)
        } catch (cause) {
          if (!(cause instanceof AddressRefused)) throw cause
          throw new UpstreamFailed('The poll stream has an "endpoint_url" that the hub may not reach.', {
            cause,
          })
        }
      },
      rest: (ms) => rest(ms, ended.signal),
    })
    const isWritten = await db.transaction(async (trx) => {
      if (!(await repository.establish(trx, stream, established))) return false
      await options.transmitters.pinAudience(trx, transmitterId, established.audience)
      return true
    })
    if (!isWritten) {
      // Nobody wishes for it any more, and no row says that it is there.
      if (established.streamId !== stream.streamId) await client.delete(established.streamId)
      return
    }
    await options.transmitters.changed()
    const missing = eventsMissing({ ...stream, ...established })
    const fields = { transmitter_id: transmitterId, stream_id: established.streamId, method: stream.method }
    logger.info('upstream.established', fields)
    if (missing.length > 0) logger.warn('upstream.events_missing', { ...fields, events: missing })
    madeAtMs = clock.monotonicMs()
    // Where streams do not last, one after the other keeps the pace that each asks for.
    duties = { ...newDuties(), ...(losses > 1 && { askedAtMs: duties.askedAtMs }) }
  }

  /** The transmitter knows the stream no more: make it again, ever more seldom while none lasts. */
  async function gone(stream: UpstreamStream): Promise<void> {
    const isMarked = await db.transaction(async (trx) => {
      if (!(await repository.markGone(trx, stream))) return false
      // The next one may be for another audience, and push before the answer that names it: until then SETs wait.
      if (stream.method === 'push') await options.transmitters.pinAudience(trx, transmitterId, [])
      return true
    })
    if (!isMarked) return
    if (stream.method === 'push') await options.transmitters.changed()
    const nowMs = clock.monotonicMs()
    losses = nowMs - madeAtMs > LASTING_MS ? 1 : losses + 1
    const fields = { transmitter_id: transmitterId, stream_id: stream.streamId, losses }
    logger.warn('upstream.stream_gone', fields)
    forgetEndpoints()
    duties.setup.dueAtMs = nowMs + backoffMs(losses, MAX_WAIT_MS)
    const text = 'The transmitter does not know the stream any more; the hub makes it again.'
    await repository.noteError(db, transmitterId, 'setup', text)
    wake.ring()
  }

  async function watchStatus(stream: UpstreamStream, streamId: string): Promise<void> {
    const client = await sessionOf(stream).management()
    const read = await client.readStatus(streamId)
    duties.status.dueAtMs = clock.monotonicMs() + statusEveryMs(stream)
    if (read.outcome === 'gone') return await gone(stream)
    if (read.outcome === 'unsupported') duties.status.isOffered = false
    if (read.outcome !== 'done') return
    await repository.noteStatus(db, transmitterId, read.value)
    const { status, reason } = read.value
    if (status === stream.status) return
    const log = status === 'enabled' ? logger.info : logger.warn
    log('upstream.status_changed', { transmitter_id: transmitterId, status, reason })
  }

  async function verify(stream: UpstreamStream, streamId: string): Promise<'not yet' | undefined> {
    const duty = duties.verification
    // A request that failed is on the row too, and nothing will answer it.
    const isRetry = duty.failures > 0 && !stream.verifiedAt
    const dueMs = isRetry ? 0 : verificationDueMs(stream, clock.now(), duties.asked)
    duty.dueAtMs = clock.monotonicMs() + Math.min(dueMs ?? LOOK_EVERY_MS, LOOK_EVERY_MS)
    if (dueMs === undefined) duties.asked = 0
    if (dueMs === undefined || dueMs > 0) return undefined
    // Asked for by a person, it still keeps the transmitter's own pace.
    const paceMs = duties.askedAtMs + (stream.minVerificationIntervalS ?? 0) * 1000 - clock.monotonicMs()
    if (paceMs > 0) {
      duty.dueAtMs = clock.monotonicMs() + paceMs
      return 'not yet'
    }
    if (stream.verificationRequestedAt && !isRetry) {
      const text = 'The verification that the hub asked for has not come.'
      logger.warn('upstream.verification_missing', { transmitter_id: transmitterId, asked: duties.asked })
      await repository.noteError(db, transmitterId, 'verification', text)
    }
    duties.asked += 1
    const asked = await requestVerification(streamId, {
      client: await sessionOf(stream).management(),
      remember: (stateHash) => repository.addVerification(db, transmitterId, stateHash),
    }).finally(() => {
      // The transmitter counts from when the request reached it, which was before now.
      duties.askedAtMs = clock.monotonicMs()
    })
    if (asked.outcome === 'gone') await gone(stream)
    if (asked.outcome === 'unsupported') duty.isOffered = false
    return undefined
  }

  /** Deletes the stream there, as well as it goes: the transmitter may be gone for good. */
  async function leave(stream: UpstreamStream): Promise<void> {
    if (stream.streamId === undefined) return await repository.remove(db, stream)
    try {
      const client = await sessionOf(stream).management()
      await client.delete(stream.streamId)
    } catch (error) {
      if (duties.setup.failures + 1 < LEAVE_TRIES && !(error instanceof UpstreamMistrusted)) throw error
      logger.warn('upstream.left_behind', {
        transmitter_id: transmitterId,
        stream_id: stream.streamId,
        reason: describeError(error),
      })
    }
    await repository.remove(db, stream)
  }

  async function keepPolling(stream: UpstreamStream): Promise<void> {
    const transmitter = await options.transmitters.find(transmitterId)
    const isWanted = stream.method === 'poll' && stream.pollUrl !== undefined && transmitter?.enabled
    if (isWanted) await polls.keep(stream, sessionOf(stream).poll)
    else await polls.stop()
  }

  /** @returns how long to wait before the next look, ms */
  async function look(): Promise<number> {
    const stream = await repository.find(db, transmitterId)
    if (!stream || stream.phase === 'stopped') {
      await polls.stop()
      return LOOK_EVERY_MS
    }
    sessionOf(stream)
    const { streamId } = stream
    if (stream.phase === 'active' && streamId !== undefined) {
      await keepPolling(stream)
      const waits = [
        await perform(duties.verification, stream, () => verify(stream, streamId)),
        await perform(duties.status, stream, () => watchStatus(stream, streamId)),
      ]
      return Math.min(...waits, LOOK_EVERY_MS)
    }
    await polls.stop()
    const isLeaving = stream.phase === 'leaving'
    const waitMs = await perform(duties.setup, stream, () => (isLeaving ? leave(stream) : setUp(stream)))
    return Math.min(Math.max(waitMs, 0), LOOK_EVERY_MS)
  }

  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      let waitMs = LOOK_EVERY_MS
      try {
        waitMs = await look()
      } catch (error) {
        logger.warn('upstream.keep_failed', { transmitter_id: transmitterId, reason: describeError(error) })
      }
      await wake.wait(Math.max(waitMs, MIN_WAIT_MS))
    }
    await polls.stop()
  }

  const loop = run()
  return {
    ring() {
      // A person may have asked for a verification; one that fails keeps its pace.
      if (duties.verification.failures === 0) duties.verification.dueAtMs = Number.NEGATIVE_INFINITY
      wake.ring()
    },
    async stop() {
      ended.abort()
      polls.abort()
      wake.ring()
      await loop
    },
  }
}
