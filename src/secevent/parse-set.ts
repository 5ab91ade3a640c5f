import { HubError } from '../kernel/errors.js'
import { isJsonObject } from './canonical-json.js'
import { scanJson } from './json-scan.js'

/** Largest SET taken, in bytes. */
export const MAX_SET_BYTES = 65_536

/** RFC 8935 §2.4, and `invalid_state` of SSF 1.0 §8.1.4.1. */
export type SetErrorCode =
  | 'invalid_request'
  | 'invalid_key'
  | 'invalid_issuer'
  | 'invalid_audience'
  | 'authentication_failed'
  | 'access_denied'
  | 'invalid_state'

/**
 * The SET itself cannot be parsed or verified. `err` and `message` are the `err` and `description` of RFC 8935
 * (push) or `setErrs` (poll). Sending it again unchanged does not help.
 */
export class SetRejected extends HubError {
  readonly code = 'ERR_SET_REJECTED'
  readonly status: 400 | 413
  override readonly failureClass = 'park' as const

  constructor(
    readonly err: SetErrorCode,
    message: string,
    options: { detail?: string; cause?: unknown; tooLarge?: boolean } = {},
  ) {
    const { tooLarge, ...rest } = options
    super(message, rest)
    this.status = tooLarge ? 413 : 400
  }
}

/** A SET that is well-formed but not yet believed. */
export interface ParsedSet {
  readonly compact: string
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
}

/**
 * RFC 7515 §7.1, strictly: three parts of unpadded base64url in its one canonical spelling, nothing around them.
 * jose takes a token followed by `==` or a newline, so one token would have many texts.
 */
export function parseSet(body: Buffer): ParsedSet {
  if (body.length > MAX_SET_BYTES) {
    throw new SetRejected('invalid_request', `A SET may have at most ${MAX_SET_BYTES} bytes.`, {
      tooLarge: true,
    })
  }
  const compact = body.toString('latin1')
  const parts = compact.split('.')
  if (parts.length === 5) {
    throw new SetRejected('invalid_request', 'The body is an encrypted token (5 parts); send a signed SET.')
  }
  const [header, claims, signature, ...more] = parts
  if (!header || !claims || signature === undefined || more.length > 0) {
    throw new SetRejected(
      'invalid_request',
      'The body must be one SET in compact form: three parts and nothing else.',
    )
  }
  // An empty third part is an unsigned token: well-formed, refused later for its alg.
  decodePart(signature, 'signature')
  return { compact, header: parsePart(header, 'header'), claims: parsePart(claims, 'payload') }
}

function decodePart(part: string, name: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  // Buffer skips what is not base64url and ignores left-over bits, so only writing it again tells.
  if (bytes.toString('base64url') !== part) {
    throw new SetRejected('invalid_request', `The ${name} of the SET is not unpadded base64url.`)
  }
  return bytes
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function parsePart(part: string, name: string): Record<string, unknown> {
  const bytes = decodePart(part, name)
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new SetRejected('invalid_request', `The ${name} of the SET is not UTF-8.`)
  }
  const problem = scanJson(text)
  if (problem) throw new SetRejected('invalid_request', `The ${name} of the SET ${problem}.`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Without the parser's own error as cause: its message quotes the token, which is for nobody's log.
    throw new SetRejected('invalid_request', `The ${name} of the SET is not JSON.`)
  }
  if (!isJsonObject(value))
    throw new SetRejected('invalid_request', `The ${name} of the SET is not a JSON object.`)
  return value
}
