/** A SET that failed in this many rounds, and others got through before each, is parked alone. */
const PARK_AFTER_FAILURES = 5
/** Not before this long after the first of them: an endpoint that has just come back stumbles for a while. */
const PARK_AFTER_MS = 60_000
/** Of one stream; the oldest is forgotten, and has its time anew. */
const MAX_SUSPECTS = 1_000

/** Which SETs of a stream fail while others of it get through. Shared clock, ms. */
export interface LoneFailures {
  /** Answers whether this SET is hopeless: others got through again and again while it did not. */
  failed(eventId: string, nowMs: number): boolean
  /** The endpoint took this one. */
  received(eventId: string): void
  /** It does not go out any more. */
  forget(eventId: string): void
  /** The SETs go elsewhere from now on. */
  clear(): void
}

interface Suspect {
  failures: number
  firstMs: number
  /** How many SETs had got through when it last failed. */
  receivedBefore: number
}

/**
 * Failures of an endpoint that takes nothing say nothing about a SET: one counts against it only when another got through
 * since it failed before. Kept in memory alone, so who takes over begins anew and no SET is parked too early.
 */
export function createLoneFailures(): LoneFailures {
  const suspects = new Map<string, Suspect>()
  let received = 0

  return {
    failed(eventId, nowMs) {
      const suspect = suspects.get(eventId)
      if (!suspect) {
        if (suspects.size >= MAX_SUSPECTS) suspects.delete(suspects.keys().next().value as string)
        suspects.set(eventId, { failures: 0, firstMs: nowMs, receivedBefore: received })
        return false
      }
      if (received === suspect.receivedBefore) return false
      suspect.receivedBefore = received
      if (suspect.failures === 0) suspect.firstMs = nowMs
      suspect.failures += 1
      return suspect.failures >= PARK_AFTER_FAILURES && nowMs - suspect.firstMs >= PARK_AFTER_MS
    },
    received(eventId) {
      received += 1
      suspects.delete(eventId)
    },
    forget(eventId) {
      suspects.delete(eventId)
    },
    clear: () => suspects.clear(),
  }
}
