import type { Subject } from './event.js'
import { declaredMembers } from './validate-event.js'

export interface MintInput {
  event: {
    readonly type: string
    readonly subject: Subject
    readonly claims: Readonly<Record<string, unknown>>
    readonly txn: string
    /** Ms since the epoch. */
    readonly acceptedAtMs: number
  }
  /** `iss` of the stream, character for character (SSF 1.0 §4.1.6). */
  issuer: string
  audience: string
  jti: string
}

/**
 * The claims of one SET towards one receiver: a pure function of its input, so a retry can change only `kid` and
 * signature. `iat` is rounded down, or a receiver without clock tolerance would see it in the future. No `sub`, no
 * `exp` (SSF 1.0 §4.1.2, §4.1.7), and only event members that the type declares: receivers warn on others.
 */
export function mintClaims({ event, issuer, audience, jti }: MintInput): Record<string, unknown> {
  return {
    iss: issuer,
    jti,
    iat: Math.floor(event.acceptedAtMs / 1000),
    aud: audience,
    txn: event.txn,
    sub_id: event.subject,
    events: { [event.type]: declaredOnly(event.type, event.claims) },
  }
}

/** The event as it is sent on. */
export function declaredOnly(
  type: string,
  claims: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const members = declaredMembers(type)
  if (!members) return claims
  return Object.fromEntries(Object.entries(claims).filter(([name]) => members.has(name)))
}
