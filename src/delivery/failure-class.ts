import { describeError } from '../kernel/errors.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'

interface FailureTraits {
  /** The endpoint spoke HTTP: the SET reached it, and may itself be the trouble. */
  readonly answered: boolean
  /** A SET that fails so while others get through may be parked alone. */
  readonly suspectsSet: boolean
  /** So many in a row, and the endpoint rests until its next probe. */
  readonly restsAfter: 1 | 3
  /** The longest rest between two probes, ms: what only a person can mend is asked less often. */
  readonly restMs: number
  /** When the hub pauses a stream whose endpoint does nothing else. */
  readonly pauses: PauseRule
}

/**
 * `at_once`: once two SETs met it and none was taken for a minute, else as `late`. `soon`: after `PAUSE_SOON_MS` of this class alone. `late`: after
 * `PAUSE_FAILING_AFTER_H` of failures of any class. `never`: it says nothing about the endpoint.
 */
type PauseRule = 'at_once' | 'soon' | 'late' | 'never'

/** A receiver that changes its Authorization header and the stream's within this time loses no minute more. */
export const PAUSE_SOON_MS = 300_000

const BRISK_MS = 4_000
const CALM_MS = 30_000

const unreached = {
  answered: false,
  suspectsSet: false,
  restsAfter: 1,
  restMs: BRISK_MS,
  pauses: 'late',
} as const
const answered = {
  answered: true,
  suspectsSet: true,
  restsAfter: 3,
  restMs: BRISK_MS,
  pauses: 'late',
} as const

/** What follows a failed attempt: its class decides, never its text. docs/operating.md has the same table. */
export const FAILURES = {
  connect: unreached,
  dns: unreached,
  tls: unreached,
  timeout: unreached,
  /** The egress proxy: nothing is known of the endpoint. */
  proxy: { ...unreached, pauses: 'never' },
  /** The endpoint's name leads where the hub does not go. */
  refused_address: { ...unreached, restMs: CALM_MS },
  /** No HTTP, or an encoding that was not asked for. */
  protocol: unreached,
  too_large: answered,
  server_error: answered,
  /** Too much for the endpoint, whatever the SET. */
  rate_limited: { ...answered, suspectsSet: false, restsAfter: 1 },
  unauthorized: { ...answered, restMs: CALM_MS, pauses: 'soon' },
  /** One SET alone may be answered so: then it is parked, and its stream goes on. */
  gone: { ...answered, restsAfter: 1, restMs: CALM_MS, pauses: 'at_once' },
  /** Never followed: the address was checked, its Location was not. */
  redirect: { ...answered, restMs: CALM_MS },
  unexpected_status: answered,
  /** The hub itself could not make the SET. */
  internal: { answered: false, suspectsSet: true, restsAfter: 3, restMs: BRISK_MS, pauses: 'never' },
} as const satisfies Record<string, FailureTraits>

export type FailureClass = keyof typeof FAILURES

export const FAILURE_CLASSES = Object.keys(FAILURES) as FailureClass[]

export const traitsOf = (failure: FailureClass): FailureTraits => FAILURES[failure]

/** The class of an answer that is neither success nor a verdict on the SET. */
export function classOfStatus(status: number): FailureClass {
  if (status === 401 || status === 403) return 'unauthorized'
  if (status === 410) return 'gone'
  if (status === 429) return 'rate_limited'
  if (status >= 500) return 'server_error'
  if (status >= 300 && status < 400) return 'redirect'
  return 'unexpected_status'
}

/** The class of what was thrown instead of an answer, and its text for the log and for operators. */
export function failureOf(error: unknown): { failure: FailureClass; reason: string } {
  if (!(error instanceof OutgoingFailed)) return { failure: 'internal', reason: describeError(error) }
  const failure = error.reason in FAILURES ? (error.reason as FailureClass) : 'connect'
  return { failure, reason: error.detail ?? describeError(error) }
}
