import { isOpenIdType } from './event-types.js'
import { MAX_EPOCH_SECONDS } from './security-event.js'
import type { SetTolerances } from './verify-set.js'

/** BCP 47: the language of a text that came without one. */
const UNDETERMINED = 'und'

/**
 * Payload spellings of drafts, made those of the final texts: taken in, never sent (drafts of 2021 to 2024).
 * Events of
 * other families stay as they are.
 */
export function modernise(
  type: string,
  event: Readonly<Record<string, unknown>>,
  tolerances: SetTolerances,
  tolerated: Set<string>,
): Record<string, unknown> {
  if (!isOpenIdType(type)) return { ...event }
  // The subject of an event stands in `sub_id`; what old transmitters repeat here would be sent on as a member.
  const { subject: _subject, ...rest } = event
  const claims: Record<string, unknown> = rest
  for (const reason of ['reason_admin', 'reason_user']) {
    const value = claims[reason]
    if (typeof value === 'string' && value !== '') claims[reason] = { [UNDETERMINED]: value }
  }
  if (typeof claims.amr === 'string') claims.amr = [claims.amr]
  const stamp = claims.event_timestamp
  if (tolerances.millisecondTimestamps && typeof stamp === 'number' && stamp >= MAX_EPOCH_SECONDS) {
    claims.event_timestamp = stamp / 1000
    tolerated.add('millisecondTimestamps')
  }
  return claims
}
