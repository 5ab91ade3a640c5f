import { probeWaitMs, withJitter } from './backoff.js'
import { type FailureClass, traitsOf } from './failure-class.js'

/** Without an attempt for this long nobody knows whether it failed all the time. */
const EPISODE_GAP_MS = 900_000

/** Up for so long, an endpoint is told as recovered: one that goes up and down is one that fails, not news each time. */
const STEADY_MS = 3_000
/** More change no rest; and what has recovered soon rests as little as before. */
const MAX_ROUNDS = 7
/** What does not answer may be one backend of many: so many in a row are needed while others answer. */
const RESTS_AFTER_SHAKY = 3
/** One SET alone may be the trouble; so many say something about the endpoint. */
const AGREEING_SETS = 2
/** An endpoint that took something this lately is there. */
const QUIET_MS = 60_000

export interface FailedAttempt {
  readonly eventId: string
  /** Shared clock, ms. */
  readonly sentAtMs: number
  readonly nowMs: number
  readonly failure: FailureClass
  readonly reason: string
  /** From the answer, ms; 0: it did not ask for any. */
  readonly retryAfterMs: number
}

/** An endpoint that does nothing but fail. Shared clock, ms. */
export interface Failing {
  /** Class and text of the last failure. */
  readonly failure: FailureClass
  readonly reason: string
  /** Since when it fails, without the time in which nothing was known of it. */
  readonly sinceMs: number
  /** Since when it has been of this class alone. */
  readonly failureSinceMs: number
  /** In a row. */
  readonly failures: number
  readonly lastFailedAtMs: number
  readonly nextProbeAtMs: number
  /** More than one SET met this class, and none was taken in the last minute. Known only to the process that saw it. */
  readonly isAgreed: boolean
}

type Noted = Omit<Failing, 'nextProbeAtMs' | 'isAgreed'>

export interface EndpointHealth {
  isDown(): boolean
  /** No probe before this, ms. */
  restUntilMs(): number
  /** Answers whether the endpoint was down until now. */
  succeed(nowMs: number): boolean
  /** When an endpoint that was told as failing may be told as recovered, unless it is down again by then, ms. */
  recoversAtMs(): number | undefined
  /** Answers whether that time has come; once. */
  settle(nowMs: number): boolean
  /** Answers whether this failure told anything new. */
  fail(attempt: FailedAttempt): boolean
  /** Undefined: the last attempt succeeded, or there was none. */
  failing(): Failing | undefined
  /** It was told as failing, or a record says so, and not yet as recovered. */
  isOnRecord(): boolean
  /** Goes on where this or another process left off, with a probe. @param probeEveryMs instead of what the class has */
  resume(failing: Failing, probeEveryMs: number | undefined): void
  /** It answered, but what that was to lead to failed here: asked again in so long. */
  postpone(nowMs: number, probeEveryMs: number): void
  /** Something stands on record that is not to be gone on with: what recovers after the next success. */
  expectClearing(): void
  reset(): void
  /** It is another one from now on, of which nothing is known. */
  replace(): void
}

/** The breaker of one stream's endpoint: opens fast, and lets a probe through every few seconds. */
export function createEndpointHealth(): EndpointHealth {
  let failing: Noted | undefined
  let isDown = false
  let onRecord = false
  /** What was told as failing is up since then. */
  let upSinceMs: number | undefined
  /** Of failures while it was down. */
  let rounds = 0
  let restUntilMs = 0
  let lastSuccessMs = 0
  let probeEveryMs: number | undefined
  /** SETs that failed with the class of now: the first ones. */
  const failedSets = new Set<string>()

  function clear(): void {
    goUp()
    onRecord = false
    upSinceMs = undefined
    rounds = 0
  }

  function goUp(): void {
    failing = undefined
    failedSets.clear()
    isDown = false
    restUntilMs = 0
    probeEveryMs = undefined
  }

  function isAgreed({ lastFailedAtMs }: Noted): boolean {
    return failedSets.size >= AGREEING_SETS && lastFailedAtMs - lastSuccessMs >= QUIET_MS
  }

  /** Also of what is no news: of two probes the second is none. */
  function noteSet({ eventId, failure }: FailedAttempt): void {
    if (failing?.failure !== failure) failedSets.clear()
    if (failedSets.size < AGREEING_SETS) failedSets.add(eventId)
  }

  function note({ failure, reason, nowMs }: FailedAttempt): number {
    const before = failing && nowMs - failing.lastFailedAtMs <= EPISODE_GAP_MS ? failing : undefined
    const failures = (before?.failures ?? 0) + 1
    const isSame = before?.failure === failure
    failing = {
      failure,
      reason,
      sinceMs: before ? sinceOf(before, { failure, nowMs }) : nowMs,
      failureSinceMs: isSame ? before.failureSinceMs : nowMs,
      failures,
      lastFailedAtMs: nowMs,
    }
    return failures
  }

  return {
    isDown: () => isDown,
    restUntilMs: () => restUntilMs,
    failing: () => failing && { ...failing, nextProbeAtMs: restUntilMs, isAgreed: isAgreed(failing) },
    isOnRecord: () => onRecord,
    succeed(nowMs) {
      lastSuccessMs = nowMs
      const wasDown = isDown
      if (wasDown) rounds = Math.floor(rounds / 2)
      if (wasDown || onRecord) upSinceMs ??= nowMs
      goUp()
      return wasDown
    },
    recoversAtMs: () => upSinceMs && upSinceMs + STEADY_MS,
    settle(nowMs) {
      if (upSinceMs === undefined || nowMs < upSinceMs + STEADY_MS) return false
      onRecord = false
      upSinceMs = undefined
      rounds = 0
      return true
    },
    fail(attempt) {
      const { sentAtMs, nowMs, failure, retryAfterMs } = attempt
      const { answered, restMs } = traitsOf(failure)
      const isShaky = !answered && lastSuccessMs > sentAtMs
      const restsAfter = isShaky ? RESTS_AFTER_SHAKY : traitsOf(failure).restsAfter
      // What was under way when the endpoint was seen to be down says nothing new: a burst is one round of failures.
      const isNews = !isDown || !failing || sentAtMs >= failing.lastFailedAtMs
      if (isNews || failing?.failure === failure) noteSet(attempt)
      const failures = isNews ? note(attempt) : 0
      if (failures >= restsAfter || retryAfterMs > 0) isDown = true
      if (!isDown) return isNews
      upSinceMs = undefined
      onRecord = true
      let waitMs = retryAfterMs
      if (isNews) {
        rounds = Math.min(rounds + 1, MAX_ROUNDS)
        const ownMs = probeEveryMs === undefined ? probeWaitMs(rounds, restMs) : withJitter(probeEveryMs)
        waitMs = Math.max(waitMs, ownMs)
      }
      restUntilMs = Math.max(restUntilMs, nowMs + waitMs)
      return isNews
    },
    resume(known, everyMs) {
      const { nextProbeAtMs: _past, isAgreed: _others, ...rest } = known
      failing = rest
      isDown = true
      onRecord = true
      rounds = Math.min(known.failures, MAX_ROUNDS)
      probeEveryMs = everyMs
      restUntilMs = everyMs === undefined ? 0 : known.lastFailedAtMs + withJitter(everyMs)
    },
    postpone(nowMs, everyMs) {
      isDown = true
      probeEveryMs = everyMs
      restUntilMs = nowMs + withJitter(everyMs)
    },
    expectClearing() {
      onRecord = true
    },
    reset: clear,
    replace() {
      clear()
      lastSuccessMs = 0
    },
  }
}

/** A class that says nothing about the endpoint neither begins the time in which it fails nor adds to it, nor ends it. */
function sinceOf(before: Noted, now: { failure: FailureClass; nowMs: number }): number {
  const saysNothing = (failure: FailureClass) => traitsOf(failure).pauses === 'never'
  if (before.failure === now.failure || !saysNothing(before.failure)) return before.sinceMs
  const untilMs = saysNothing(now.failure) ? now.nowMs : before.lastFailedAtMs
  return before.sinceMs + untilMs - before.failureSinceMs
}
