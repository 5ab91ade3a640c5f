import type { SetTolerances } from './verify-set.js'

/** What an operator may forgive a transmitter, as the API spells it. docs/transmitters.md says what each costs. */
export const TOLERANCE_SWITCHES = {
  allow_missing_kid: 'allowMissingKid',
  allow_plain_typ: 'allowPlainTyp',
  allow_sub: 'allowSub',
  allow_exp: 'allowExp',
  allow_event_aliases: 'allowEventAliases',
  millisecond_timestamps: 'millisecondTimestamps',
  session_id_all: 'sessionIdAll',
  tokens_revoked_as_session_revoked: 'tokensRevokedAsSessionRevoked',
} as const satisfies Record<string, keyof SetTolerances>

/** Spellings of drafts that are taken from everybody: they weaken no check and can mean one thing only. */
export const OLD_SPELLINGS = [
  'subject_in_event',
  'subject_type',
  'subject_format',
  'complex_without_format',
  'event_type',
  'numeric_txn',
  'unusable_txn',
  'text_amr',
  'text_reason',
  'missing_reason_admin',
] as const

/** What a SET was forgiven: label of `firebreak_sets_tolerated_total`. */
export type Tolerated = keyof typeof TOLERANCE_SWITCHES | (typeof OLD_SPELLINGS)[number]
