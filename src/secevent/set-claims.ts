import { isJsonObject } from './canonical-json.js'
import type { AccessEffect } from './event.js'
import { BUILT_IN_EVENT_TYPES, classifyEvent, type EventTypes } from './event-types.js'
import { currentType } from './legacy-claims.js'
import { SetRejected } from './parse-set.js'
import { TOLERANCE_SWITCHES, type Tolerated } from './tolerances.js'
import type { SetTolerances } from './verify-set.js'

type Claims = Readonly<Record<string, unknown>>

/** Of several names of an event the first of these counts: what takes access away must not be lost. */
const BY_WEIGHT: readonly AccessEffect[] = ['tightens', 'loosens', 'neutral']

const MAX_ID_LENGTH = 512
const CONTROL_CHARACTER = /\p{Cc}/u

export interface ClaimExpectations {
  readonly issuer: string
  readonly audience: readonly string[]
  readonly nowMs: number
  readonly tolerances: SetTolerances
  /** What was forgiven is added here. */
  readonly tolerated: Set<Tolerated>
  /** The built-in ones when absent. */
  readonly eventTypes?: EventTypes
}

export interface CheckedClaims {
  readonly jti: string
  readonly iatS: number
  readonly txn?: string
  readonly type: string
  readonly event: Readonly<Record<string, unknown>>
}

/** Claims of a SET whose signature holds, in the order iss, aud, confusion with other JWTs, envelope (SSF 1.0 §4.1, RFC 8417 §2.2). */
export function checkClaims(claims: Claims, expect: ClaimExpectations): CheckedClaims {
  if (claims.iss !== expect.issuer) {
    throw new SetRejected(
      'invalid_issuer',
      'The "iss" of the SET is not the issuer registered for this endpoint.',
    )
  }
  checkAudience(claims.aud, expect.audience)
  refuseTokenClaims(claims, expect)
  const { jti, iat } = claims
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_ID_LENGTH || CONTROL_CHARACTER.test(jti)) {
    throw new SetRejected(
      'invalid_request',
      `The SET needs a "jti" of 1 to ${MAX_ID_LENGTH} characters without control characters.`,
    )
  }
  if (typeof iat !== 'number' || iat < 0) {
    throw new SetRejected('invalid_request', 'The SET needs an "iat" in seconds since 1970.')
  }
  const [type, event] = theEvent(claims.events, expect)
  const txn = readTxn(claims.txn, expect.tolerated)
  return { jti, iatS: iat, ...(txn !== undefined && { txn }), type, event }
}

function checkAudience(aud: unknown, expected: readonly string[]): void {
  const named: unknown[] = Array.isArray(aud) ? aud : [aud]
  if (!named.some((value) => typeof value === 'string' && expected.includes(value))) {
    throw new SetRejected('invalid_audience', 'The "aud" of the SET does not name this hub.')
  }
}

/**
 * `sub` and `exp` belong to ID and access tokens; a SET that has them could be mistaken for one, and the reverse
 * (SSF 1.0 §4.1.2, §4.1.7). Issuers that send them by habit are tolerated one by one, with an alarm.
 */
function refuseTokenClaims(claims: Claims, expect: ClaimExpectations): void {
  for (const [claim, tolerance] of [
    ['sub', 'allow_sub'],
    ['exp', 'allow_exp'],
  ] as const) {
    if (claims[claim] === undefined) continue
    if (!expect.tolerances[TOLERANCE_SWITCHES[tolerance]]) {
      throw new SetRejected('invalid_request', `A SET must not have a top-level "${claim}".`)
    }
    expect.tolerated.add(tolerance)
  }
  const { exp } = claims
  if (exp !== undefined && !(typeof exp === 'number' && exp * 1000 > expect.nowMs)) {
    throw new SetRejected('invalid_request', 'The "exp" of the SET has passed.')
  }
}

/** RFC 8417 §2.2: one object per event. Base SSF lets one event have several names, the profile does not. */
function theEvent(events: unknown, expect: ClaimExpectations): [string, Record<string, unknown>] {
  const entries = isJsonObject(events) ? Object.entries(events) : []
  if (entries.length === 0)
    throw new SetRejected('invalid_request', 'The SET needs an "events" object with one event.')
  if (!entries.every((entry): entry is [string, Record<string, unknown>] => isJsonObject(entry[1]))) {
    throw new SetRejected('invalid_request', 'Every member of "events" must be a JSON object.')
  }
  if (entries.length > 1) {
    if (!expect.tolerances.allowEventAliases) {
      throw new SetRejected('invalid_request', 'The SET must have exactly one event.')
    }
    expect.tolerated.add('allow_event_aliases')
  }
  const { eventTypes = BUILT_IN_EVENT_TYPES } = expect
  const named = entries.map(([type, event]) => ({ event, now: currentType(type, expect.tolerances) }))
  const rank = ({ event, now }: (typeof named)[0]) =>
    BY_WEIGHT.indexOf(classifyEvent(now.type, event, eventTypes).effect)
  const known = named.filter((one) => eventTypes.get(one.now.type)).sort((a, b) => rank(a) - rank(b))
  const { event, now } = known[0] ?? (named[0] as (typeof named)[0])
  if (now.tolerated) expect.tolerated.add(now.tolerated)
  return [now.type, event]
}

/** SSF 1.0 §4.1.9. Drafts had numbers. A value that cannot serve as a join key is no reason to lose the event. */
function readTxn(txn: unknown, tolerated: Set<Tolerated>): string | undefined {
  if (txn === undefined) return undefined
  if (typeof txn === 'number') {
    tolerated.add('numeric_txn')
    return String(txn)
  }
  if (typeof txn === 'string' && txn !== '' && txn.length <= MAX_ID_LENGTH && !CONTROL_CHARACTER.test(txn)) {
    return txn
  }
  tolerated.add('unusable_txn')
  return undefined
}
