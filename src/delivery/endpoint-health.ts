import { probeWaitMs } from './backoff.js'

/** So many failures in a row mean that the endpoint is down; one refused connection is enough. */
const DOWN_AFTER_FAILURES = 3

export interface FailedAttempt {
  /** Shared clock, ms. */
  readonly sentAtMs: number
  readonly nowMs: number
  /** The endpoint spoke HTTP, so the SET may be the trouble. */
  readonly answered: boolean
  /** From the answer, ms. */
  readonly retryAfterMs: number
}

export interface EndpointHealth {
  isDown(): boolean
  /** No probe before this, ms. */
  restUntilMs(): number
  lastSuccessMs(): number
  /** Answers whether the endpoint was down until now. */
  succeed(nowMs: number): boolean
  /** Answers whether this failure told anything new. */
  fail(attempt: FailedAttempt): boolean
  reset(): void
  failures(): number
}

/** The breaker of one stream's endpoint: opens fast, and lets a probe through every few seconds. */
export function createEndpointHealth(): EndpointHealth {
  let failures = 0
  let restUntilMs = 0
  let lastFailureMs = 0
  let lastSuccessMs = 0
  const isDown = () => failures >= DOWN_AFTER_FAILURES

  function clear(): void {
    failures = 0
    restUntilMs = 0
  }

  return {
    isDown,
    restUntilMs: () => restUntilMs,
    lastSuccessMs: () => lastSuccessMs,
    failures: () => failures,
    succeed(nowMs) {
      lastSuccessMs = nowMs
      const wasDown = isDown()
      clear()
      return wasDown
    },
    fail({ sentAtMs, nowMs, answered, retryAfterMs }) {
      // What was under way when the endpoint was seen to be down says nothing new: a burst is one round of failures.
      const isNews = !isDown() || sentAtMs >= lastFailureMs
      if (isNews) {
        failures = answered ? failures + 1 : Math.max(failures + 1, DOWN_AFTER_FAILURES)
        lastFailureMs = nowMs
      }
      if (isDown()) {
        const restMs = isNews ? probeWaitMs(failures - DOWN_AFTER_FAILURES + 1) : 0
        restUntilMs = Math.max(restUntilMs, nowMs + Math.max(restMs, retryAfterMs))
      }
      return isNews
    },
    reset: clear,
  }
}
