import { LRUCache } from 'lru-cache'
import type { Clock } from '../kernel/clock.js'
import { TooManyRequests } from '../kernel/errors.js'

const MAX_ADDRESSES = 10_000
const MAX_KNOWN_GOOD = 10_000

/**
 * Bounds how often one address may try credentials that turn out bad. In memory and per process: tokens are
 * 256 random bits, so this saves database work and makes guessing visible; it is not what makes guessing hopeless.
 */
export interface AttemptLimiter {
  /** @throws TooManyRequests when the address has failed too often and these credentials are not known to be good */
  check(address: string, credentialsHash: string): void
  failed(address: string): void
  /** Credentials that were good shortly before pass `check`, so a broken neighbour behind one proxy shuts nobody out. */
  succeeded(credentialsHash: string): void
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
  const windows = new LRUCache<string, { count: number; endsAt: number }>({ max: MAX_ADDRESSES })
  const good = new LRUCache<string, true>({ max: MAX_KNOWN_GOOD, ttl: 600_000 })
  return {
    check(address, credentialsHash) {
      const window = windows.get(address)
      if (!window || window.count < failures) return
      const leftMs = window.endsAt - clock.monotonicMs()
      if (leftMs <= 0 || good.has(credentialsHash)) return
      throw new TooManyRequests('Too many failed attempts from this address; wait, then use a valid token.', {
        retryAfterS: leftMs / 1000,
      })
    },
    failed(address) {
      const now = clock.monotonicMs()
      const window = windows.get(address)
      if (!window || window.endsAt <= now) windows.set(address, { count: 1, endsAt: now + windowMs })
      else window.count += 1
    },
    succeeded: (credentialsHash) => void good.set(credentialsHash, true),
  }
}
