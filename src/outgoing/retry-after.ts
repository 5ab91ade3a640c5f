/** A push waits no longer than this, so that no endpoint can put a revocation off for an hour. */
const DEFAULT_MAX_MS = 60_000

/**
 * RFC 9110 §10.2.3 Retry-After as ms from now: seconds or a date, clamped to 0 and `maxMs`. Undefined when absent or
 * unreadable.
 */
export function retryAfterMs(
  header: string | string[] | undefined,
  nowMs: number,
  maxMs = DEFAULT_MAX_MS,
): number | undefined {
  const text = (Array.isArray(header) ? header[0] : header)?.trim()
  if (!text) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), maxMs)
}
