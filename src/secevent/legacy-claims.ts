import { CAEP, finalSpelling, isOpenIdType, SSF } from './event-types.js'
import { MAX_EPOCH_SECONDS } from './security-event.js'
import type { Tolerated } from './tolerances.js'
import type { SetTolerances } from './verify-set.js'

/** BCP 47: the language of a text that came without one. */
const UNDETERMINED = 'und'

const SCHEMAS = 'https://schemas.openid.net/secevent/'

/** Names that drafts and early transmitters gave to types of the final texts. */
const OLD_TYPES: ReadonlyMap<string, string> = new Map([
  [`${SCHEMAS}caep/event-type/token-claims-changed`, CAEP.tokenClaimsChange],
  [`${SCHEMAS}sse/event-type/verification`, SSF.verification],
  [`${SCHEMAS}sse/event-type/stream-updated`, SSF.streamUpdated],
  [`${SCHEMAS}risc/event-type/verification`, SSF.verification],
])

const TOKENS_REVOKED = `${SCHEMAS}oauth/event-type/tokens-revoked`

/** Types whose interoperability profile demands a reason (CAEP Interoperability Profile 1.0 §3.1, §3.2). */
const REASON_EXPECTED: ReadonlySet<string> = new Set([CAEP.sessionRevoked, CAEP.credentialChange])

/** The name that the final texts give to an event type, and what that is counted as. Other types stay as they are. */
export function currentType(
  type: string,
  tolerances: SetTolerances,
): { type: string; tolerated?: Tolerated } {
  const current = OLD_TYPES.get(type) ?? finalSpelling(type)
  if (current !== type) return { type: current, tolerated: 'event_type' }
  if (type === TOKENS_REVOKED && tolerances.tokensRevokedAsSessionRevoked) {
    return { type: CAEP.sessionRevoked, tolerated: 'tokens_revoked_as_session_revoked' }
  }
  return { type }
}

/** The claims with `iat`, `nbf` and `exp` in seconds, where milliseconds are forgiven. */
export function inSeconds(
  claims: Readonly<Record<string, unknown>>,
  tolerances: SetTolerances,
  tolerated: Set<Tolerated>,
): Readonly<Record<string, unknown>> {
  const found = ['iat', 'nbf', 'exp'].filter((name) => isMilliseconds(claims[name], tolerances))
  if (found.length === 0) return claims
  tolerated.add('millisecond_timestamps')
  return { ...claims, ...Object.fromEntries(found.map((name) => [name, (claims[name] as number) / 1000])) }
}

function isMilliseconds(value: unknown, tolerances: SetTolerances): boolean {
  return tolerances.millisecondTimestamps === true && typeof value === 'number' && value >= MAX_EPOCH_SECONDS
}

/**
 * Payload spellings of drafts, made those of the final texts: taken in, never sent (drafts of 2021 to 2024).
 * Events of other families stay as they are.
 */
export function modernise(
  type: string,
  event: Readonly<Record<string, unknown>>,
  tolerances: SetTolerances,
  tolerated: Set<Tolerated>,
): Record<string, unknown> {
  if (!isOpenIdType(type)) return { ...event }
  // The subject of an event stands in `sub_id`; what old transmitters repeat here would be sent on as a member.
  const { subject: _subject, ...rest } = event
  const claims: Record<string, unknown> = rest
  for (const reason of ['reason_admin', 'reason_user']) {
    const value = claims[reason]
    if (typeof value !== 'string' || value === '') continue
    claims[reason] = { [UNDETERMINED]: value }
    tolerated.add('text_reason')
  }
  if (claims.reason_admin === undefined && REASON_EXPECTED.has(type)) tolerated.add('missing_reason_admin')
  if (typeof claims.amr === 'string') {
    claims.amr = [claims.amr]
    tolerated.add('text_amr')
  }
  const stamp = claims.event_timestamp
  if (isMilliseconds(stamp, tolerances)) {
    claims.event_timestamp = (stamp as number) / 1000
    tolerated.add('millisecond_timestamps')
  }
  return claims
}
