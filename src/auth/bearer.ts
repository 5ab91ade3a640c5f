import type { Request } from 'express'
import type { ErrorWithHeaders } from '../http/errors.js'
import { HubError } from '../kernel/errors.js'

const REALM = 'Bearer realm="firebreak"'

/** No credentials at all: RFC 6750 §3.1 wants the challenge without an error code. */
export class MissingCredentials extends HubError implements ErrorWithHeaders {
  readonly code = 'ERR_UNAUTHENTICATED'
  readonly status = 401
  readonly responseHeaders = { 'WWW-Authenticate': REALM }

  constructor() {
    super('Send a token in the Authorization header: Authorization: Bearer <token>.')
  }
}

/** Unknown, expired, revoked, or of a disabled receiver: the caller is not told which. */
export class InvalidToken extends HubError implements ErrorWithHeaders {
  readonly code = 'ERR_INVALID_TOKEN'
  readonly status = 401
  readonly responseHeaders = {
    'WWW-Authenticate': `${REALM}, error="invalid_token", error_description="The token is unknown, expired or revoked"`,
  }

  constructor() {
    super('The token is unknown, expired or revoked; get a new one.')
  }
}

/** The Authorization header cannot be read, or the token stands where none is accepted. */
export class MalformedCredentials extends HubError implements ErrorWithHeaders {
  readonly code = 'ERR_MALFORMED_CREDENTIALS'
  readonly status = 400
  readonly responseHeaders = { 'WWW-Authenticate': `${REALM}, error="invalid_request"` }
}

/** A good token that does not allow this. */
export class Forbidden extends HubError implements ErrorWithHeaders {
  readonly code = 'ERR_FORBIDDEN'
  readonly status = 403
  readonly responseHeaders: Readonly<Record<string, string>>

  /** @param scope what would have sufficed, when it is an OAuth scope */
  constructor(message: string, scope?: string) {
    super(message)
    const wanted = scope === undefined ? '' : `, scope="${scope}"`
    this.responseHeaders = { 'WWW-Authenticate': `${REALM}, error="insufficient_scope"${wanted}` }
  }
}

/** RFC 6750 §2.1: b64token. */
const CREDENTIALS = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** Tokens of the hub are short; JWTs of other issuers are not. */
const MAX_TOKEN_CHARS = 8192

/**
 * The bearer token of a request (RFC 6750 §2.1). Only the Authorization header counts: a token in the query
 * ends up in logs and histories, so its mere presence is refused (CAEP interoperability profile §2.7.2).
 * @throws MissingCredentials, MalformedCredentials
 */
export function bearerToken(req: Pick<Request, 'headers' | 'rawHeaders' | 'query'>): string {
  if (req.query.access_token !== undefined) {
    throw new MalformedCredentials(
      'A token in the query is not accepted; send it in the Authorization header.',
    )
  }
  const header = req.headers.authorization
  if (header === undefined) throw new MissingCredentials()
  const sent = req.rawHeaders.filter((name, index) => index % 2 === 0 && /^authorization$/i.test(name))
  if (sent.length > 1) throw new MalformedCredentials('Send one Authorization header, not several.')
  // Another scheme is no bearer credential at all, so it is answered as if nothing had been sent.
  if (!/^bearer(?: |$)/i.test(header)) throw new MissingCredentials()
  const token = CREDENTIALS.exec(header)?.[1]
  if (token === undefined || token.length > MAX_TOKEN_CHARS) {
    throw new MalformedCredentials('The Authorization header must read: Authorization: Bearer <token>.')
  }
  return token
}
