import { LRUCache } from 'lru-cache'
import { networkOf } from '../http/client-address.js'
import type { Clock } from '../kernel/clock.js'
import { TooManyRequests } from '../kernel/errors.js'

const MAX_NETWORKS = 10_000

/**
 * Bounds the answers that one address gets for credentials that turned out bad. Good ones are never held back: a
 * broken neighbour behind one proxy must shut nobody out. In memory and per process: tokens are 256 random bits, so
 * this makes guessing visible; it is not what makes guessing hopeless.
 */
export interface AttemptLimiter {
  /** Counts one failure of the address, in IPv6 of its network of 64 bits; the error to answer with when it has failed too often. */
  failed(address: string): TooManyRequests | undefined
  /** Whether its next failure is one too many: nobody else should be troubled for what it sends. */
  isBlocked(address: string): boolean
}

export interface AttemptLimits {
  clock: Pick<Clock, 'monotonicMs'>
  /** Failures allowed in one window. Default 30. */
  failures?: number
  /** Default 60 s. */
  windowMs?: number
}

export function createAttemptLimiter(limits: AttemptLimits): AttemptLimiter {
  const { clock, failures = 30, windowMs = 60_000 } = limits
  const windows = new LRUCache<string, { count: number; endsAt: number }>({ max: MAX_NETWORKS })
  return {
    failed(address) {
      const now = clock.monotonicMs()
      const network = networkOf(address)
      const window = windows.get(network)
      if (!window || window.endsAt <= now) {
        windows.set(network, { count: 1, endsAt: now + windowMs })
        return undefined
      }
      window.count += 1
      if (window.count <= failures) return undefined
      return new TooManyRequests(
        'Too many failed attempts from this address; wait, then use a valid token.',
        {
          retryAfterS: (window.endsAt - now) / 1000,
        },
      )
    },
    isBlocked(address) {
      const window = windows.get(networkOf(address))
      return window !== undefined && window.endsAt > clock.monotonicMs() && window.count >= failures
    },
  }
}
