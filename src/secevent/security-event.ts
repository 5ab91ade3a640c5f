import { createHash } from 'node:crypto'
import { canonicalJson } from './canonical-json.js'
import type { Lane, SecurityEvent, Subject } from './event.js'
import { classifyEvent, type EventTypes } from './event-types.js'
import { orderKeyOf, slotOf } from './subject.js'

export interface SecurityEventInput {
  eventId: string
  /** Shared clock, ms since the epoch; a fraction is dropped. */
  acceptedAtMs: number
  type: string
  subject?: Subject
  claims: Record<string, unknown>
  txn: string
  sourceId: string
  sourceIssuer: string
  sourceJti: string
  /** Where it is not that of its class: a containment's, that of a source with urgent types of its own or over its budget. */
  lane?: Lane
  targetStreamId?: string
  quarantine?: string
  /** What the content hash covers instead of issuer, subject and event: `VerifiedSet.contentClaims`. */
  extraClaims?: Record<string, unknown>
}

/**
 * Completes an event with what follows from it: effect, lane, order key, slot and content hash. The effect is that of
 * now: a type that is classed otherwise later does not change what was accepted before.
 * @param types the built-in ones when absent
 */
export function createSecurityEvent(input: SecurityEventInput, types?: EventTypes): SecurityEvent {
  // A quarantined event goes nowhere, so it must not move its subject's newest tightening event either.
  const { effect, lane } = input.quarantine
    ? ({ effect: 'neutral', lane: 'routine' } as const)
    : classifyEvent(input.type, input.claims, types)
  // Without a subject there is no order to keep; the token's own name spreads such events over the slots.
  const orderKey = input.subject
    ? orderKeyOf(input.subject)
    : canonicalJson({ iss: input.sourceIssuer, jti: input.sourceJti })
  return {
    eventId: input.eventId,
    acceptedAtMs: Math.floor(input.acceptedAtMs),
    lane: input.lane ?? lane,
    effect,
    type: input.type,
    ...(input.subject && { subject: input.subject }),
    claims: input.claims,
    txn: input.txn,
    sourceId: input.sourceId,
    sourceIssuer: input.sourceIssuer,
    sourceJti: input.sourceJti,
    contentHash: contentHashOf(input),
    orderKey,
    slot: slotOf(orderKey),
    ...(input.targetStreamId !== undefined && { targetStreamId: input.targetStreamId }),
    ...(input.quarantine !== undefined && { quarantine: input.quarantine }),
  }
}

/**
 * base64url SHA-256 of the canonical claims without `iat`, `jti` and signature: a repeat that is only signed again
 * (ES256 never signs twice the same) has the same hash, another content under the same jti has not.
 */
function contentHashOf(input: SecurityEventInput): string {
  const content = input.extraClaims ?? {
    iss: input.sourceIssuer,
    sub_id: input.subject,
    events: { [input.type]: input.claims },
  }
  return createHash('sha256').update(canonicalJson(content)).digest('base64url')
}

/** First second of the year 5138: a larger `event_timestamp` is in milliseconds, or nonsense. */
export const MAX_EPOCH_SECONDS = 100_000_000_000

/** `event_timestamp` in ms since the epoch, when the claims hold one that a timestamptz can hold. */
export function eventTimestampMs(claims: Readonly<Record<string, unknown>>): number | undefined {
  const seconds = claims.event_timestamp
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds < MAX_EPOCH_SECONDS)) return undefined
  return Math.floor(seconds * 1000)
}
