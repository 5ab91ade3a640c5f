import { retryAfterMs } from '../outgoing/retry-after.js'
import { classOfStatus, type FailureClass } from './failure-class.js'

/** What one push attempt came to; the class alone decides what happens next. */
export type AttemptOutcome =
  | { readonly class: 'received' }
  /** RFC 8935 §2.4: the receiver refuses this SET; sending it again unchanged is useless. */
  | { readonly class: 'rejected'; readonly code: string; readonly reason: string }
  /** Not tried: what this receiver is held to has no form for the event. */
  | { readonly class: 'undeliverable'; readonly reason: string }
  /** No success and no verdict on the SET. */
  | FailedOutcome

export interface FailedOutcome {
  readonly class: 'failed'
  readonly failure: FailureClass
  /** For the log and for operators; may say what stands in our network. */
  readonly reason: string
  readonly retryAfterMs?: number
}

const SET_ERRORS = new Set([
  'invalid_request',
  'invalid_key',
  'invalid_issuer',
  'invalid_audience',
  'authentication_failed',
  'access_denied',
  'invalid_state',
])

/** RFC 6585 §4, RFC 9110 §15.6.4: elsewhere Retry-After asks for nothing that concerns a push. */
const MAY_ASK_TO_WAIT = new Set([429, 503])
const MAX_REASON = 300

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

function setErrorOf(body: Buffer): { err: string; description: string } | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'))
    if (typeof parsed !== 'object' || parsed === null) return undefined
    const { err, description } = parsed as { err?: unknown; description?: unknown }
    if (typeof err !== 'string') return undefined
    return { err, description: typeof description === 'string' ? description : '' }
  } catch {
    return undefined
  }
}

/**
 * Classes an RFC 8935 answer: only 202 is success (§2.2); 400 with an `err` is a rejection of the SET (§2.4);
 * everything else, redirects included, is a failure of the endpoint: also a 400 that names none of the standards' errors,
 * which a proxy in front of a dead receiver says to every SET.
 * @param acceptsAny2xx the receiver's switch `accept_any_2xx`: any 2xx is success
 */
export function outcomeOfAnswer(
  answer: Answer,
  { nowMs, acceptsAny2xx }: { nowMs: number; acceptsAny2xx: boolean },
): AttemptOutcome {
  const is2xx = answer.status >= 200 && answer.status < 300
  if (answer.status === 202 || (acceptsAny2xx && is2xx)) return { class: 'received' }
  if (answer.status === 400) {
    const error = setErrorOf(answer.body)
    if (error && SET_ERRORS.has(error.err)) {
      const reason = `${error.err}: ${error.description}`.slice(0, MAX_REASON)
      return { class: 'rejected', code: error.err, reason }
    }
    // Without its words: they would stand where no erasure of a person looks.
    return { class: 'failed', failure: classOfStatus(400), reason: 'answered 400 without an err of RFC 8935' }
  }
  const asked = MAY_ASK_TO_WAIT.has(answer.status) ? answer.headers['retry-after'] : undefined
  const wait = retryAfterMs(asked, nowMs)
  return {
    class: 'failed',
    failure: classOfStatus(answer.status),
    reason: `answered ${answer.status}`,
    ...(wait === undefined ? {} : { retryAfterMs: wait }),
  }
}
