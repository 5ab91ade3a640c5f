import { HubError } from '../kernel/errors.js'

/**
 * The hub will not send there. The text is the same for every cause, a name that does not resolve included,
 * so that nobody can map our network with it; the cause is in `detail`, for the log.
 */
export class AddressRefused extends HubError {
  readonly code = 'ERR_ADDRESS_REFUSED'
  readonly status = 400

  constructor(detail: string, options: { cause?: unknown } = {}) {
    super(
      'The hub does not send requests to this URL. Use https with a public address, or ask the operator to list its network in FIREBREAK_ALLOWED_NETWORKS.',
      { ...options, detail },
    )
  }
}

export type OutgoingFailure =
  | 'connect'
  | 'tls'
  | 'dns'
  | 'timeout'
  | 'proxy'
  | 'refused_address'
  | 'too_large'
  | 'protocol'
  | 'aborted'

/** A request got no usable answer. `reason` is for decisions and the log: shown to a receiver it would be an oracle. */
export class OutgoingFailed extends HubError {
  readonly code = 'ERR_OUTGOING_FAILED'
  readonly status = 502
  override readonly failureClass = 'retry' as const
  readonly reason: OutgoingFailure

  constructor(reason: OutgoingFailure, options: { detail?: string; cause?: unknown } = {}) {
    super(
      'The endpoint gave no usable answer. Check that it is reachable from the hub, then try again.',
      options,
    )
    this.reason = reason
  }
}

const DNS_CODES = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_NODATA',
  'EAI_NONAME',
  'ENODATA',
  'EAI_FAIL',
  'ESERVFAIL',
])
const TIMEOUT_CODES = new Set([
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
])
const TLS_CODE =
  /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|CRL_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|EPROTO$|ERROR_IN_CERT)/
const RESET_CODES = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'])

/** Puts what undici, TLS or the resolver threw into one class per cause. */
export function toOutgoingFailed(error: unknown): OutgoingFailed {
  if (error instanceof OutgoingFailed) return error
  if (error instanceof AddressRefused) return failed('refused_address', error, error.detail)
  const inner = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error
  const code = codeOf(inner)
  if (DNS_CODES.has(code)) return failed('dns', error, code)
  if (TIMEOUT_CODES.has(code)) return failed('timeout', error, code)
  if (TLS_CODE.test(code)) return failed('tls', error, code)
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE' || code === 'UND_ERR_HEADERS_OVERFLOW')
    return failed('too_large', error, code)
  // undici leaves HTTPParserError without a code when its parser gives none.
  if (error instanceof Error && error.name === 'HTTPParserError')
    return failed('protocol', error, error.message)
  if (code.startsWith('HPE_') || (code.startsWith('UND_ERR') && !RESET_CODES.has(code)))
    return failed('protocol', error, code)
  return failed('connect', error, code)
}

/** Did the peer close the connection under a request? A kept-open connection may always end just as we use it. */
export function isReset(error: unknown): boolean {
  return RESET_CODES.has(codeOf(error))
}

function failed(reason: OutgoingFailure, cause: unknown, detail?: string): OutgoingFailed {
  return new OutgoingFailed(reason, { cause, ...(detail ? { detail } : {}) })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
