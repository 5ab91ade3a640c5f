import { hashSecret } from '../auth/secrets.js'
import type { Transmitter } from '../ingest/transmitter.js'
import { Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { SSF } from '../secevent/event-types.js'
import { SetRejected } from '../secevent/parse-set.js'
import type { VerifiedSet } from '../secevent/verify-set.js'
import type { Database } from '../storage/database.js'
import { clip } from './management-client.js'
import type { UpstreamStream } from './upstream-stream.js'
import { upstreamStreamRepository as repository } from './upstream-stream-repository.js'

export interface StreamEventsOptions {
  db: Database
  logger: Logger
  metrics: Metrics
  /** Rings whoever keeps the stream. */
  wake(): void
}

/**
 * What a transmitter says about the stream that the hub holds there, pushed or polled. Transmitters without such a
 * stream may say what they like: it is stored, and fanned out to nobody.
 * @throws (from it) SetRejected, Unavailable
 */
export function createStreamEvents(options: StreamEventsOptions) {
  const { db, logger, wake } = options
  const count = options.metrics.counter(
    'firebreak_upstream_stream_events_total',
    'Verification and stream-updated events from upstream transmitters, by result.',
    ['type', 'result'],
  )

  /** SSF 1.0 §8.1.4.1. */
  async function verification(stream: UpstreamStream, verified: VerifiedSet): Promise<string> {
    if (!isAbout(verified, stream)) {
      throw new SetRejected(
        'invalid_request',
        'The "sub_id" of a verification must be opaque, with the stream_id as its id.',
      )
    }
    const { state } = verified.claims
    // The transmitter's own idea: no answer to us.
    if (state === undefined) return 'unasked'
    const isKnown =
      typeof state === 'string' &&
      (await repository.answerVerification(db, stream.transmitterId, hashSecret(state)))
    if (!isKnown) throw new SetRejected('invalid_state', 'The "state" is none that the hub asked with.')
    logger.info('upstream.verified', { transmitter_id: stream.transmitterId, jti: verified.jti })
    wake()
    return 'answered'
  }

  /** SSF 1.0 §8.1.5: noted and told, not fought. */
  async function streamUpdated(stream: UpstreamStream, verified: VerifiedSet): Promise<string> {
    const { status, reason } = verified.claims
    if (!isAbout(verified, stream) || typeof status !== 'string') return 'ignored'
    await repository.noteStatus(db, stream.transmitterId, {
      status: clip(status),
      ...(typeof reason === 'string' && { reason: clip(reason) }),
    })
    const log = status === 'enabled' ? logger.info : logger.warn
    log('upstream.stream_updated', {
      transmitter_id: stream.transmitterId,
      jti: verified.jti,
      status: clip(status),
      reason: typeof reason === 'string' ? clip(reason) : undefined,
    })
    return 'noted'
  }

  return async (transmitter: Transmitter, verified: VerifiedSet): Promise<void> => {
    const type = verified.type === SSF.verification ? 'verification' : 'stream_updated'
    try {
      const stream = await repository.find(db, transmitter.id)
      if (!stream || stream.phase === 'leaving') return
      const result = await (type === 'verification' ? verification : streamUpdated)(stream, verified)
      count.add({ type, result })
    } catch (error) {
      if (error instanceof SetRejected) {
        count.add({ type, result: error.err })
        throw error
      }
      throw new Unavailable('The hub cannot look up the stream now; send the SET again.', { cause: error })
    }
  }
}

/** A first event may be here before the answer that named the stream: then there is nothing to compare with. */
function isAbout({ subject, quarantine }: VerifiedSet, { streamId }: UpstreamStream): boolean {
  if (subject?.format !== 'opaque' || quarantine === 'invalid_subject') return false
  return streamId === undefined || subject.id === streamId
}
