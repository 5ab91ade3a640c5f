import type { ErrorRequestHandler, RequestHandler, Response } from 'express'
import { describeError, HubError, InvalidRequest, NotFound, PayloadTooLarge } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { asUnavailable } from './outages.js'

/** A HubError may carry headers that its answer needs, such as a `WWW-Authenticate` challenge. */
export interface ErrorWithHeaders {
  readonly responseHeaders: Readonly<Record<string, string>>
}

export interface ErrorRenderOptions {
  logger: Logger
}

/** HubErrors become `{code, message}`; a fault inside is a 500 that says nothing, and is logged. */
export function renderErrors(options: ErrorRenderOptions): ErrorRequestHandler {
  return (thrown, req, res, _next) => {
    const known = toHubError(thrown)
    // What is sealed, stored or set up wrongly is not the caller's to know, even where it has a code.
    const error = known?.status === 500 ? undefined : known
    const fields = {
      request_id: requestIdOf(res),
      method: req.method,
      // Without the query: a token may stand there, though it is never accepted.
      path: req.path,
      code: known?.code ?? 'ERR_INTERNAL',
    }
    if (!error) {
      options.logger.error('request.failed', { ...fields, error: stackOf(thrown) })
    } else if (error.status >= 500) {
      options.logger.warn('request.refused', { ...fields, error: describeError(error) })
    } else {
      options.logger.debug('request.refused', { ...fields, error: describeError(error) })
    }
    // A body under way cannot be taken back: cut it, so that nobody takes half for whole.
    if (res.headersSent) {
      res.destroy()
      return
    }
    if (error) sendHubError(res, error)
    else sendInternalError(res)
  }
}

/** Answers one HubError as `{code, message}`. */
function sendHubError(res: Response, error: HubError): void {
  if (error.retryAfterS !== undefined) res.set('Retry-After', String(Math.ceil(error.retryAfterS)))
  if (hasHeaders(error)) res.set(error.responseHeaders)
  res.status(error.status).json({ code: error.code, message: error.message })
}

export const unknownRoute: RequestHandler = () => {
  throw new NotFound(
    'There is nothing at this path; check the method and the path against the documentation.',
  )
}

/** The id given to this request; it stands in the answer's X-Request-Id and in the log. */
function requestIdOf(res: Response): string {
  return String(res.locals.requestId ?? '')
}

function sendInternalError(res: Response): void {
  res.status(500).json({
    code: 'ERR_INTERNAL',
    message: `The hub failed to handle this request; its log has the reason under request id ${requestIdOf(res)}.`,
  })
}

function toHubError(thrown: unknown): HubError | undefined {
  const error = asUnavailable(thrown)
  return error instanceof HubError ? error : fromHttpError(error)
}

/** What express and its body parsers throw: a plain error with `status`, sometimes `type`. */
function fromHttpError(error: unknown): HubError | undefined {
  if (!(error instanceof Error)) return undefined
  if (isDataException(error)) {
    return new InvalidRequest('A value in the request cannot be stored or compared; check times and texts.', {
      detail: error.message,
      cause: error,
    })
  }
  const { status, type } = error as Error & { status?: unknown; type?: unknown }
  if (typeof status !== 'number' || status < 400 || status >= 500) return undefined
  const detail = error.message
  if (type === 'entity.too.large') return new PayloadTooLarge('The body is too large; send less.', { detail })
  if (type === 'entity.parse.failed') {
    return new InvalidRequest('The body is not valid JSON, or is cut off; send one JSON object.', { detail })
  }
  if (type === 'encoding.unsupported') {
    return new InvalidRequest('Send the body without Content-Encoding.', { detail })
  }
  if (type === 'charset.unsupported') return new InvalidRequest('Send the body as UTF-8.', { detail })
  return new InvalidRequest('The request cannot be read; check its path, headers and length.', { detail })
}

/** SQLSTATE class 22: a value that the schemas let pass and Postgres does not, such as a time before year 1. */
function isDataException(error: Error): boolean {
  const { code } = error as Error & { code?: unknown }
  return typeof code === 'string' && /^22[0-9A-Z]{3}$/.test(code)
}

function hasHeaders(error: HubError): error is HubError & ErrorWithHeaders {
  return typeof (error as Partial<ErrorWithHeaders>).responseHeaders === 'object'
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : describeError(error)
}
