/**
 * What a worker does with a failure. The class decides, never the text.
 * `caller`: the request was wrong; `retry`: try again later; `park`: this one item cannot succeed.
 */
export type FailureClass = 'caller' | 'retry' | 'park'

export interface HubErrorOptions {
  /** For the log only; never shown to a caller. */
  detail?: string
  cause?: unknown
  /** Seconds, sent as Retry-After. */
  retryAfterS?: number
}

/** Base of every expected failure. `message` is for the caller and says what to do. */
export abstract class HubError extends Error {
  /** Stable, listed in docs/errors.md. */
  abstract readonly code: string
  /** HTTP status on the management API. */
  abstract readonly status: number
  readonly failureClass: FailureClass = 'caller'
  readonly detail: string | undefined
  readonly retryAfterS: number | undefined

  constructor(message: string, options: HubErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.detail = options.detail
    this.retryAfterS = options.retryAfterS
  }
}

export class InvalidRequest extends HubError {
  readonly code = 'ERR_INVALID_REQUEST'
  readonly status = 400
}

export class NotFound extends HubError {
  readonly code = 'ERR_NOT_FOUND'
  readonly status = 404
}

/** The path exists and takes other methods. */
export class MethodNotAllowed extends HubError {
  readonly code = 'ERR_METHOD_NOT_ALLOWED'
  readonly status = 405
  /** RFC 9110 §15.5.6. */
  readonly responseHeaders: Readonly<Record<string, string>>

  /** @param allowed the methods, as the header Allow names them */
  constructor(allowed: string) {
    super(`Use ${allowed} here.`)
    this.responseHeaders = { Allow: allowed }
  }
}

export class Conflict extends HubError {
  readonly code = 'ERR_CONFLICT'
  readonly status = 409
}

export class PayloadTooLarge extends HubError {
  readonly code = 'ERR_TOO_LARGE'
  readonly status = 413
}

export class TooManyRequests extends HubError {
  readonly code = 'ERR_TOO_MANY_REQUESTS'
  readonly status = 429
  override readonly failureClass = 'retry' as const
}

/** Something the hub depends on is away for now. Always carries a Retry-After. */
export class Unavailable extends HubError {
  readonly code = 'ERR_UNAVAILABLE'
  readonly status = 503
  override readonly failureClass = 'retry' as const

  constructor(message: string, options: HubErrorOptions = {}) {
    super(message, { retryAfterS: 2, ...options })
  }
}

/** A setting or an environment that stops the program: one clear line, exit 1. */
export class StartupError extends HubError {
  readonly code = 'ERR_STARTUP'
  readonly status = 500
}

/** The text of anything thrown, for logs. */
export function describeError(error: unknown): string {
  if (error instanceof HubError && error.detail) return `${error.message} (${error.detail})`
  if (error instanceof AggregateError && !error.message) {
    return error.errors.map(describeError).join('; ')
  }
  return error instanceof Error ? error.message : String(error)
}
