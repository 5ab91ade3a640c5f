import type { KeyObject, webcrypto } from 'node:crypto'
import { compactVerify } from 'jose'
import { describeError, HubError } from '../kernel/errors.js'
import type { Subject } from './event.js'
import { BUILT_IN_EVENT_TYPES, type EventTypes } from './event-types.js'
import { inSeconds, modernise } from './legacy-claims.js'
import { type ParsedSet, SetRejected } from './parse-set.js'
import { type CheckedClaims, checkClaims } from './set-claims.js'
import { checkHeader, checkKey } from './set-header.js'
import { InvalidSubject, parseSubject, withoutSessionAll } from './subject.js'
import type { Tolerated } from './tolerances.js'
import { subjectProblems, validateReceived } from './validate-event.js'

/** The issuer's keys cannot be had now. A 400 would make the sender drop a true revocation: answer 503. */
export class KeysUnavailable extends HubError {
  readonly code = 'ERR_KEYS_UNAVAILABLE'
  readonly status = 503
  override readonly failureClass = 'retry' as const

  constructor(message: string, options: { detail?: string; cause?: unknown; retryAfterS?: number } = {}) {
    super(message, { retryAfterS: 2, ...options })
  }
}

/** The pinned keys of one issuer. */
export interface KeySource {
  /**
   * The one public key for this header; undefined when it is certain that the issuer has none.
   * Throws KeysUnavailable when that cannot be known now (fetch failed, or cooling down).
   */
  find(header: { kid?: string; alg: string }): Promise<webcrypto.CryptoKey | KeyObject | undefined>
}

/** Departures of one upstream transmitter that its operator accepts. Each use is reported, for an alarm. */
export interface SetTolerances {
  /** No `kid`; the issuer then must have exactly one key for the algorithm. */
  readonly allowMissingKid?: boolean
  /** `typ` absent or `JWT`. */
  readonly allowPlainTyp?: boolean
  readonly allowSub?: boolean
  /** A top-level `exp`, which must not have passed. */
  readonly allowExp?: boolean
  /** Several members in `events`; the first known one counts. */
  readonly allowEventAliases?: boolean
  /** Times in milliseconds (`iat`, `nbf`, `exp`, `event_timestamp`) are divided by 1000 instead of quarantined. */
  readonly millisecondTimestamps?: boolean
  /** An opaque session named `ALL` stands for every session: the subject loses it, for absent means any. */
  readonly sessionIdAll?: boolean
  /** The OAuth event type `tokens-revoked` of RISC transmitters is taken for CAEP `session-revoked`. */
  readonly tokensRevokedAsSessionRevoked?: boolean
  /** How far `iat` may be ahead of the hub's clock, in seconds. Default 120. */
  readonly futureSkewS?: number
}

/** Verified, but not fit to fan out (RFC 8935 §2.3): answered 202, stored, counted, alerted. */
export type QuarantineReason =
  | 'unknown_type'
  | 'missing_subject'
  | 'invalid_subject'
  | 'invalid_payload'
  | 'iat_in_future'

export interface VerifiedSet {
  readonly issuer: string
  readonly jti: string
  /** Seconds since the epoch, as sent. */
  readonly iatS: number
  readonly txn?: string
  readonly type: string
  readonly subject?: Subject
  /** The event's members, older spellings made new. */
  readonly claims: Record<string, unknown>
  /** All claims without `iat` and `jti`: what the content hash covers. */
  readonly contentClaims: Record<string, unknown>
  readonly quarantine?: QuarantineReason
  /** What was wrong, for an operator; empty unless quarantined. */
  readonly problems: readonly string[]
  /** What this SET was forgiven. */
  readonly tolerated: readonly Tolerated[]
  /** `jku`, `jwk`, `x5u`, `x5c` that were in the header and not looked at. */
  readonly ignoredHeaders: readonly string[]
}

export interface SetExpectations {
  readonly issuer: string
  readonly audience: readonly string[]
  readonly algorithms: readonly string[]
  readonly keys: KeySource
  /** The shared clock, ms since the epoch. */
  readonly nowMs: number
  readonly tolerances?: SetTolerances
  /** The built-in ones when absent. */
  readonly eventTypes?: EventTypes
}

const DEFAULT_FUTURE_SKEW_S = 120

/**
 * Believes a SET or says why not (SSF 1.0 §4.1, RFC 8417 §2, RFC 8725). In order: header, key, signature, iss, aud,
 * envelope; then the event itself, whose faults quarantine and never reject. The expected issuer comes from the
 * endpoint the SET arrived at, never from the token.
 * Throws SetRejected, or KeysUnavailable (from the key source) and nothing else.
 */
export async function verifySet(set: ParsedSet, expect: SetExpectations): Promise<VerifiedSet> {
  const { issuer, audience, nowMs, tolerances = {}, eventTypes = BUILT_IN_EVENT_TYPES } = expect
  const tolerated = new Set<Tolerated>()
  const ignoredHeaders = await authenticate(set, expect, tolerated)
  const dated = inSeconds(set.claims, tolerances, tolerated)
  const checked = checkClaims(dated, { issuer, audience, nowMs, tolerances, tolerated, eventTypes })
  const claims = modernise(checked.type, checked.event, tolerances, tolerated)
  const { iat: _iat, jti: _jti, ...contentClaims } = set.claims
  const judged = judge(checked, claims, { subId: set.claims.sub_id, tolerances, tolerated, eventTypes })
  const quarantine = judged.quarantine ?? (isAhead(dated, expect) ? 'iat_in_future' : undefined)
  return {
    issuer,
    jti: checked.jti,
    iatS: checked.iatS,
    ...(checked.txn !== undefined && { txn: checked.txn }),
    type: checked.type,
    ...(judged.subject && { subject: judged.subject }),
    claims,
    contentClaims,
    ...(quarantine && { quarantine }),
    problems: judged.problems,
    tolerated: [...tolerated],
    ignoredHeaders,
  }
}

/** Header, key and signature, before a word of the claims is believed. Returns the key offers that were ignored. */
async function authenticate(
  set: ParsedSet,
  { algorithms, keys, tolerances = {} }: SetExpectations,
  tolerated: Set<Tolerated>,
): Promise<readonly string[]> {
  const { alg, kid, ignored } = checkHeader(set.header, algorithms, tolerances, tolerated)
  const key = await keys.find(kid === undefined ? { alg } : { alg, kid })
  if (!key) {
    throw new SetRejected('invalid_key', 'The issuer has no key that fits the "kid" and "alg" of the SET.')
  }
  checkKey(key, alg)
  await checkSignature(set.compact, key, alg)
  return ignored
}

/** RFC 8417 §2.2. Only the future is odd: an old `iat` is a held event. `nbf` is read as what it says, a later start. */
function isAhead({ iat, nbf }: ParsedSet['claims'], { nowMs, tolerances }: SetExpectations): boolean {
  const latestS = nowMs / 1000 + (tolerances?.futureSkewS ?? DEFAULT_FUTURE_SKEW_S)
  return [iat, nbf].some((value) => typeof value === 'number' && value > latestS)
}

/**
 * jose and not node:crypto, which would be faster by some 100 µs: what strangers send goes through the library that
 * is attacked most and looked at most. Header and key were checked before, so both would have to fail.
 */
async function checkSignature(
  compact: string,
  key: webcrypto.CryptoKey | KeyObject,
  alg: string,
): Promise<void> {
  try {
    await compactVerify(compact, key, { algorithms: [alg] })
  } catch (error) {
    // jose throws its own classes, and a plain TypeError for a key it finds unfit.
    throw new SetRejected(
      'invalid_key',
      'The signature of the SET does not verify with the key of its issuer.',
      {
        detail: describeError(error),
      },
    )
  }
}

interface Judgement {
  readonly subject?: Subject
  readonly quarantine?: QuarantineReason
  readonly problems: readonly string[]
}

interface Leniency {
  readonly subId: unknown
  readonly tolerances: SetTolerances
  readonly tolerated: Set<Tolerated>
  readonly eventTypes: EventTypes
}

/** SSF 1.0 §3.6, §4.2.3: what is odd about the event, though the SET is good. */
function judge(
  { type, event }: Pick<CheckedClaims, 'type' | 'event'>,
  claims: Record<string, unknown>,
  lenient: Leniency,
): Judgement {
  const { eventTypes } = lenient
  const read = readSubject(event, lenient)
  if (!eventTypes.get(type)) {
    const unknown = `The event type ${type} is not known.`
    return { ...read, quarantine: 'unknown_type', problems: [...read.problems, unknown] }
  }
  if (read.quarantine) return read
  const subject = read.subject as Subject
  const unfit = subjectProblems(type, subject)
  if (unfit.length > 0) return { subject, quarantine: 'invalid_subject', problems: unfit }
  const odd = validateReceived(type, claims, eventTypes)
  if (odd.length > 0) return { subject, quarantine: 'invalid_payload', problems: odd }
  return { subject, problems: [] }
}

/** The subject, from `sub_id`, or from where drafts before SSF 1.0 had it: inside the event. */
function readSubject(event: CheckedClaims['event'], { subId, tolerances, tolerated }: Leniency): Judgement {
  const raw = subId ?? event.subject
  if (raw === undefined) return { quarantine: 'missing_subject', problems: ['The SET has no "sub_id".'] }
  if (raw !== subId) tolerated.add('subject_in_event')
  try {
    const subject = parseSubject(raw, tolerated)
    const widened = tolerances.sessionIdAll ? withoutSessionAll(subject) : undefined
    if (widened) tolerated.add('session_id_all')
    return { subject: widened ?? subject, problems: [] }
  } catch (error) {
    if (!(error instanceof InvalidSubject)) throw error
    return { quarantine: 'invalid_subject', problems: [error.message] }
  }
}
