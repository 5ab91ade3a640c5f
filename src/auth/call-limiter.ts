import { LRUCache } from 'lru-cache'
import type { Clock } from '../kernel/clock.js'
import { TooManyRequests } from '../kernel/errors.js'

const MAX_CALLERS = 10_000

/**
 * Bounds how often one caller calls, so that one program in a loop takes the API from nobody. In memory and per
 * process, by who calls and not by token: a receiver may have as many tokens as it likes.
 */
export interface CallLimiter {
  /** Counts one call; the error to answer with when there were too many. */
  take(caller: string): TooManyRequests | undefined
}

export interface CallLimits {
  clock: Pick<Clock, 'monotonicMs'>
  /** Calls a second that may go on for ever. */
  perS: number
  /** Calls that may come at once. */
  burst: number
}

/** A token bucket per caller. */
export function createCallLimiter({ clock, perS, burst }: CallLimits): CallLimiter {
  // A caller that is forgotten was not among the last 10,000 and has a full bucket again.
  const buckets = new LRUCache<string, { left: number; atMs: number }>({ max: MAX_CALLERS })
  return {
    take(caller) {
      const nowMs = clock.monotonicMs()
      const bucket = buckets.get(caller) ?? { left: burst, atMs: nowMs }
      bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1000) * perS)
      bucket.atMs = nowMs
      buckets.set(caller, bucket)
      if (bucket.left < 1) {
        return new TooManyRequests(`You ask more than ${perS} times a second; wait as Retry-After says.`, {
          retryAfterS: Math.max(1, (1 - bucket.left) / perS),
        })
      }
      bucket.left -= 1
      return undefined
    },
  }
}
