export const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'
export const REALM = 'Bearer realm="firebreak"'
export const INVALID_TOKEN = `${REALM}, error="invalid_token", error_description="The token is unknown, expired or revoked"`
const INVALID_REQUEST = `${REALM}, error="invalid_request"`

export type Token = 'manage' | 'read' | 'unscoped' | 'admin' | 'viewer' | 'nonsense' | 'none'

/** What stands in the paths and bodies of the calls below. */
export interface Ids {
  /** An enabled poll stream of the receiver. */
  stream: string
  /** One that an operator has paused. */
  held: string
  push: string
  receiver: string
  profiled: string
  disabled: string
  name: string
}

export interface Call {
  method: string
  path: string
  token?: Token
  /** A string goes out as it is. */
  body?: object | string
  headers?: Record<string, string>
}

export interface Refusal extends Call {
  title: string
  status: number
  code: string
  /** `WWW-Authenticate`; absent: the answer has none. */
  challenge?: string
  /** Least and most of `Retry-After`, s; absent: the answer has none. */
  retryAfterS?: readonly [number, number]
  /** `Allow`; absent: the answer has none. */
  allow?: string
  /** What the message has to name. */
  names?: RegExp
}

export const nameOf = ({ method, path }: Call) =>
  `${method} ${path.replaceAll(/[0-9a-f-]{36}/g, '{id}').replace(/\?.*/, ' of one')}`

/** Credentials: the same everywhere, and asked before anything else. */
export function credentialRefusals(call: Call): Refusal[] {
  // A body that cannot be read shows that nobody looked at it (T-45).
  const unread: Call = { ...call, ...(call.body && { body: '{"x":' }) }
  const query = call.path.includes('?') ? '&' : '?'
  const title = nameOf(call)
  return [
    {
      ...unread,
      title: `${title} without a token`,
      token: 'none',
      status: 401,
      code: 'ERR_UNAUTHENTICATED',
      challenge: REALM,
    },
    {
      ...unread,
      title: `${title} with another scheme`,
      headers: { authorization: 'Basic YTpi' },
      status: 401,
      code: 'ERR_UNAUTHENTICATED',
      challenge: REALM,
    },
    {
      ...unread,
      title: `${title} with an unknown token`,
      token: 'nonsense',
      status: 401,
      code: 'ERR_INVALID_TOKEN',
      challenge: INVALID_TOKEN,
    },
    {
      ...unread,
      title: `${title} with a header that cannot be read`,
      headers: { authorization: 'Bearer two words' },
      status: 400,
      code: 'ERR_MALFORMED_CREDENTIALS',
      challenge: INVALID_REQUEST,
    },
    {
      ...unread,
      title: `${title} with the token in the query`,
      path: `${call.path}${query}access_token=x`,
      token: 'none',
      status: 400,
      code: 'ERR_MALFORMED_CREDENTIALS',
      challenge: INVALID_REQUEST,
    },
  ]
}

/** Bodies that no call takes, before the stream or receiver is looked for. */
export function bodyRefusals(call: Call): Refusal[] {
  if (!call.body) return []
  const title = nameOf(call)
  const unknown = JSON.parse(JSON.stringify(call.body).replaceAll(/[0-9a-f-]{36}/g, UNKNOWN_ID)) as object
  const invalid = { ...call, status: 400, code: 'ERR_INVALID_REQUEST' }
  return [
    { ...invalid, title: `${title} with a body cut off`, body: '{"stream_id":"' },
    { ...invalid, title: `${title} with an array`, body: '[]' },
    { ...invalid, title: `${title} with null`, body: 'null' },
    { ...invalid, title: `${title} with text`, body: '"x"' },
    { ...invalid, title: `${title} with U+0000`, body: { ...unknown, description: 'a\u0000' } },
    { ...invalid, title: `${title} with half of a character`, body: { ...unknown, x: { '\ud800': 1 } } },
    { ...invalid, title: `${title} nested too deep`, body: `{"x":${'['.repeat(40)}${']'.repeat(40)}}` },
    { ...invalid, title: `${title} compressed`, headers: { 'content-encoding': 'gzip' }, body: '{}' },
    {
      ...invalid,
      title: `${title} in another character set`,
      headers: { 'content-type': 'application/json; charset=latin1' },
      body: '{}',
    },
    {
      ...call,
      title: `${title} with more than it takes`,
      body: { ...unknown, description: 'x'.repeat(1_100_000) },
      status: 413,
      code: 'ERR_TOO_LARGE',
    },
  ]
}
