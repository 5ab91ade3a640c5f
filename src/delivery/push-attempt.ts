import type { Clock } from '../kernel/clock.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { ClientTls } from '../outgoing/client-tls.js'
import type { Lane } from '../secevent/event.js'
import { type AttemptOutcome, outcomeOfAnswer } from './attempt-outcome.js'
import { failureOf } from './failure-class.js'
import type { Minter } from './minter.js'
import type { ReceivedDelivery, SendItem } from './open-delivery.js'
import type { StreamTarget } from './stream-target-repository.js'

interface PushAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

export interface PushAttemptOptions {
  readonly minter: Minter
  /** The one door for requests that leave. */
  post(request: {
    url: string
    method: 'POST'
    headers: Record<string, string>
    body: string
    deadlineMs: number
    pool: Lane
    tls?: ClientTls
  }): Promise<PushAnswer>
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly attemptTimeoutMs: number
  received(delivery: ReceivedDelivery): void
}

/** One try to push one SET (RFC 8935 §2.1): signs, sends, classes the answer, writes one line. Never rejects. */
export function createPushAttempt(
  options: PushAttemptOptions,
): (item: SendItem, target: StreamTarget) => Promise<AttemptOutcome> {
  const { clock, logger, metrics } = options
  const instruments = {
    attempts: metrics.counter(
      'firebreak_push_attempts_total',
      'Push attempts by outcome, and those that failed also by the class of their failure.',
      ['lane', 'outcome', 'failure'],
    ),
    duration: metrics.histogram(
      'firebreak_push_attempt_seconds',
      'Duration of a push attempt, signing included.',
      ['outcome'],
    ),
  }

  /** @param endsAtMs monotonic; the lease was checked against it, so signing counts too */
  async function tryPush(item: SendItem, target: StreamTarget, endsAtMs: number): Promise<AttemptOutcome> {
    if (!target.endpointUrl)
      return { class: 'failed', failure: 'internal', reason: 'the stream has no endpoint_url' }
    const refusal = options.minter.refusalOf(item, item.content)
    if (refusal !== undefined) return { class: 'undeliverable', reason: refusal }
    try {
      const body = await options.minter.mint(item, item.content, target)
      const leftMs = Math.floor(endsAtMs - clock.monotonicMs())
      if (leftMs <= 0) return { class: 'failed', failure: 'internal', reason: 'signing took too long' }
      const answer = await options.post({
        url: target.endpointUrl,
        method: 'POST',
        headers: {
          'content-type': 'application/secevent+jwt',
          accept: 'application/json',
          ...(target.authorization ? { authorization: target.authorization } : {}),
        },
        body,
        deadlineMs: leftMs,
        pool: item.lane,
        ...(target.tls ? { tls: target.tls } : {}),
      })
      return outcomeOfAnswer(answer, { nowMs: clock.now(), acceptsAny2xx: target.acceptsAny2xx })
    } catch (error) {
      return { class: 'failed', ...failureOf(error) }
    }
  }

  return async (item, target) => {
    const began = clock.monotonicMs()
    const outcome = await tryPush(item, target, began + options.attemptTimeoutMs)
    const durationMs = clock.monotonicMs() - began
    const failure = outcome.class === 'failed' ? { failure: outcome.failure } : {}
    instruments.attempts.add({ lane: item.lane, outcome: outcome.class, ...failure })
    instruments.duration.observe(durationMs / 1000, { outcome: outcome.class })
    const line = () => ({
      stream_id: item.streamId,
      jti: options.minter.jtiOf(item),
      txn: item.txn,
      lane: item.lane,
      attempt: item.attempts + 1,
      outcome: outcome.class,
      ...failure,
      duration_ms: Math.round(durationMs * 10) / 10,
      ...(outcome.class === 'received' ? {} : { reason: outcome.reason }),
    })
    if (outcome.class === 'received') options.received(item)
    if (outcome.class === 'rejected' || outcome.class === 'undeliverable')
      logger.warn('delivery.attempted', line())
    else if (outcome.class === 'failed') logger.info('delivery.attempted', line())
    else logger.debug('delivery.attempted', line)
    return outcome
  }
}
