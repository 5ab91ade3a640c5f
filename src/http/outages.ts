import { HubError, Unavailable } from '../kernel/errors.js'

/** Of the socket: nobody listens, cut, unreachable. */
const SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

/**
 * SQLSTATEs that a retry may heal: connection (08), resources (53), cancelled or shutting down (57), read-only after
 * a failover (25006), lock not available (55P03), serialization and deadlock (40).
 */
const SQLSTATES = /^(?:08|53|57|40)[0-9A-Z]{3}$|^25006$|^55P03$/

/** pg and knex give these no code, only a text. */
const TEXTS =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Knex: Timeout acquiring a connection)/

/**
 * What the hub depends on being away is no fault of this request: 503 with Retry-After, so that a sender keeps its
 * SET and a receiver its report. Anything else is given back as it came.
 */
export function asUnavailable(error: unknown): unknown {
  if (error instanceof HubError || !(error instanceof Error)) return error
  const { code } = error as Error & { code?: unknown }
  const away =
    (typeof code === 'string' && (SOCKET_CODES.has(code) || SQLSTATES.test(code))) ||
    TEXTS.test(error.message)
  if (!away) return error
  return new Unavailable('The hub cannot do this right now; send the same request again shortly.', {
    detail: error.message,
    cause: error,
  })
}
