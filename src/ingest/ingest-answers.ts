import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { HubError, MethodNotAllowed } from '../kernel/errors.js'
import { SetRejected } from '../secevent/parse-set.js'

/** The Authorization header is not the one this transmitter was registered with (SSF 1.0 §6.1.1). */
export class SenderNotAuthenticated extends HubError {
  readonly code = 'ERR_SENDER_NOT_AUTHENTICATED'
  readonly status = 401
}

/** The body did not come in the time that it may take, or its place was needed for others. */
export class SenderTooSlow extends HubError {
  readonly code = 'ERR_TOO_SLOW'
  readonly status = 408
  override readonly failureClass = 'retry' as const

  constructor() {
    super('The body came too slowly; send the SET again, in one go.', { retryAfterS: 1 })
  }
}

/** RFC 8935 §2.2: 202 and no body, only once the event is durable. */
export function sendAccepted(res: ServerResponse): void {
  res.writeHead(202, { 'Cache-Control': 'no-store', 'Content-Length': 0 }).end()
}

/** RFC 8935 §2.3 for what is wrong with the SET or its sender; the hub's own form for everything else. */
export function sendFailure(res: ServerResponse, error: HubError): void {
  if (error instanceof SetRejected) {
    send(res, error.status, { body: toSetError(error.err, error.message) })
  } else if (error instanceof SenderNotAuthenticated) {
    const headers = { 'WWW-Authenticate': 'Bearer realm="firebreak"' }
    send(res, 401, { body: toSetError('authentication_failed', error.message), headers })
  } else {
    const headers: OutgoingHttpHeaders = {}
    if (error.retryAfterS !== undefined) headers['Retry-After'] = Math.ceil(error.retryAfterS)
    if (error instanceof MethodNotAllowed) Object.assign(headers, error.responseHeaders)
    send(res, error.status, { body: { code: error.code, message: error.message }, headers })
  }
}

function toSetError(err: string, description: string) {
  return { err, description }
}

function send(
  res: ServerResponse,
  status: number,
  { body, headers }: { body: object; headers?: OutgoingHttpHeaders },
): void {
  const text = JSON.stringify(body)
  // Node reads and drops what is left of a request; of one without end it must not.
  if ((status === 413 || status === 408) && !res.req.complete) res.shouldKeepAlive = false
  res
    .writeHead(status, {
      ...headers,
      'Content-Type': 'application/json',
      'Content-Language': 'en',
      'Content-Length': Buffer.byteLength(text),
      'Cache-Control': 'no-store',
    })
    .end(text)
}
