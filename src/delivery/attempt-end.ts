import type { Clock } from '../kernel/clock.js'
import type { Lease } from '../storage/leases.js'
import type { AttemptOutcome, FailedOutcome } from './attempt-outcome.js'
import { answeredResult, type EndedAttempt, failedResult, unsentResult } from './attempt-result.js'
import type { EndpointHealth, Failing } from './endpoint-health.js'
import { traitsOf } from './failure-class.js'
import type { LoneFailures } from './lone-failures.js'
import type { OpenDelivery } from './open-delivery.js'
import type { DeliveryResult } from './queue-repository.js'
import type { StreamTarget } from './stream-target-repository.js'

export interface AttemptEndsDeps {
  readonly clock: Pick<Clock, 'now'>
  /** The stream's shard lease; undefined once it is lost. */
  lease(): Lease | undefined
  readonly endpoint: EndpointHealth
  readonly lone: LoneFailures
  /** @param first what must be durable before the result is */
  write(item: OpenDelivery, result: DeliveryResult, first?: () => Promise<void>): void
  /** Without a lease nothing is written: the row is another's. */
  leave(item: OpenDelivery): void
  /** The endpoint is down: what waits in memory goes back to the table. */
  onDown(): void
  /** The endpoint is up again. */
  onUp(): void
  /** It rests after another failure. */
  onFailing(failing: Failing, target: StreamTarget): void
  /** Enables the stream that the hub paused for failing; resolves once that is durable. */
  enable(): Promise<void>
  /** That failed: the row stays in the table, and the endpoint is asked again. */
  onNotEnabled(target: StreamTarget): void
}

interface Attempt {
  readonly item: OpenDelivery
  readonly to: StreamTarget
  readonly sentAtMs: number
}

/** What follows an attempt of one stream: what is written of the SET, and what is known of the endpoint. */
export function createAttemptEnds(
  deps: AttemptEndsDeps,
): (attempt: Attempt, outcome: AttemptOutcome) => void {
  const { clock, endpoint, lone, write } = deps

  function isHopeless({ item, nowMs }: EndedAttempt, to: StreamTarget, { failure }: FailedOutcome): boolean {
    // The notice of a stream that was paused for failing is all that asks its endpoint.
    return !to.pausedForFailing && traitsOf(failure).suspectsSet && lone.failed(item.eventId, nowMs)
  }

  function fail(ended: EndedAttempt, to: StreamTarget, outcome: FailedOutcome): void {
    const { item, sentAtMs, nowMs } = ended
    const result = failedResult(ended, outcome, isHopeless(ended, to, outcome))
    if (result.nextAttemptAtMs === undefined) {
      lone.forget(item.eventId)
      write(item, result)
      return
    }
    const { failure, retryAfterMs = 0, reason } = outcome
    const isNews = endpoint.fail({ eventId: item.eventId, sentAtMs, nowMs, failure, reason, retryAfterMs })
    let { nextAttemptAtMs } = result
    if (endpoint.isDown()) {
      // The endpoint sets the pace: whatever waits is due at the next probe.
      nextAttemptAtMs = Math.min(nextAttemptAtMs, endpoint.restUntilMs())
      deps.onDown()
      const failing = endpoint.failing()
      if (isNews && failing) deps.onFailing(failing, to)
    }
    write(item, { ...result, nextAttemptAtMs })
  }

  async function enable(to: StreamTarget): Promise<void> {
    try {
      await deps.enable()
    } catch (error) {
      deps.onNotEnabled(to)
      throw error
    }
  }

  return ({ item, to, sentAtMs }, outcome) => {
    const lease = deps.lease()
    if (!lease) {
      deps.leave(item)
      return
    }
    const ended = { item, lease, sentAtMs, nowMs: clock.now() }
    if (outcome.class === 'undeliverable') {
      // Nothing was sent, so it says nothing about the endpoint.
      lone.forget(item.eventId)
      write(item, unsentResult({ item, lease, outcome: 'discarded', failure: outcome.reason }))
    } else if (outcome.class === 'failed') {
      fail(ended, to, outcome)
    } else {
      if (outcome.class === 'received') lone.received(item.eventId)
      else lone.forget(item.eventId)
      if (endpoint.succeed(ended.nowMs)) deps.onUp()
      write(item, answeredResult(ended, outcome), to.pausedForFailing ? () => enable(to) : undefined)
    }
  }
}
