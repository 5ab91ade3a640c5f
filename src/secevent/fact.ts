import { canonicalJson } from './canonical-json.js'
import type { SecurityEvent } from './event.js'
import { declaredOnly } from './mint.js'
import { canonicalSubject } from './subject.js'

/** What an event says, whoever says it. */
export interface Fact {
  /** The same for an event and for what another hub makes of it: cause, type, subject, and the members it sends on. */
  readonly text: string
  /** Without a date the same words may tell of another occurrence. */
  readonly dated: boolean
}

/**
 * What comes back when hubs pass events on in a ring, under another issuer and `jti` each time (SSF 1.0 §4.1.6): `txn`,
 * type, subject and declared members stay. Not the reasons: they are words for people, which a hub may add or translate.
 * Undefined for what is never passed on. Pure.
 */
export function factOf(event: SecurityEvent): Fact | undefined {
  const { txn, type, subject } = event
  if (!subject || event.quarantine !== undefined || event.targetStreamId !== undefined) return undefined
  const { reason_admin: _admin, reason_user: _user, ...claims } = declaredOnly(type, event.claims)
  return {
    text: canonicalJson([txn, type, canonicalSubject(subject), claims]),
    dated: claims.event_timestamp !== undefined,
  }
}
