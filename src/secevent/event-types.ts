import type { AccessEffect, Lane } from './event.js'

const CAEP_BASE = 'https://schemas.openid.net/secevent/caep/event-type/'
const RISC_BASE = 'https://schemas.openid.net/secevent/risc/event-type/'
const SSF_BASE = 'https://schemas.openid.net/secevent/ssf/event-type/'

/** CAEP 1.0 §3. */
export const CAEP = {
  sessionRevoked: `${CAEP_BASE}session-revoked`,
  tokenClaimsChange: `${CAEP_BASE}token-claims-change`,
  credentialChange: `${CAEP_BASE}credential-change`,
  assuranceLevelChange: `${CAEP_BASE}assurance-level-change`,
  deviceComplianceChange: `${CAEP_BASE}device-compliance-change`,
  sessionEstablished: `${CAEP_BASE}session-established`,
  sessionPresented: `${CAEP_BASE}session-presented`,
  riskLevelChange: `${CAEP_BASE}risk-level-change`,
} as const

/** RISC 1.0 §2. */
export const RISC = {
  accountCredentialChangeRequired: `${RISC_BASE}account-credential-change-required`,
  accountPurged: `${RISC_BASE}account-purged`,
  accountDisabled: `${RISC_BASE}account-disabled`,
  accountEnabled: `${RISC_BASE}account-enabled`,
  identifierChanged: `${RISC_BASE}identifier-changed`,
  identifierRecycled: `${RISC_BASE}identifier-recycled`,
  credentialCompromise: `${RISC_BASE}credential-compromise`,
  optIn: `${RISC_BASE}opt-in`,
  optOutInitiated: `${RISC_BASE}opt-out-initiated`,
  optOutCancelled: `${RISC_BASE}opt-out-cancelled`,
  optOutEffective: `${RISC_BASE}opt-out-effective`,
  recoveryActivated: `${RISC_BASE}recovery-activated`,
  recoveryInformationChanged: `${RISC_BASE}recovery-information-changed`,
  sessionsRevoked: `${RISC_BASE}sessions-revoked`,
} as const

/** What a transmitter says about its stream: SSF 1.0 §8.1.4.1, §8.1.5. */
export const SSF = {
  verification: `${SSF_BASE}verification`,
  streamUpdated: `${SSF_BASE}stream-updated`,
} as const

export interface EventTypeInfo {
  readonly type: string
  readonly family: 'CAEP' | 'RISC' | 'SSF'
  /** Last segment of the URI; the schema is `$defs[name]` of `schemas/<family>-events.json`. */
  readonly name: string
  /** The effect whatever the payload says, or the member it depends on and what each value does. */
  readonly effect: AccessEffect | EffectByMember
  /** Lane for every effect. Absent: tightening is `urgent`, the rest `routine`. */
  readonly lane?: Lane
  /** Why it is classed so, for docs. */
  readonly why: string
}

export interface EffectByMember {
  readonly member: string
  readonly values: Readonly<Record<string, AccessEffect>>
  /** When the member is absent or has another value. */
  readonly otherwise: AccessEffect
}

function row(
  type: string,
  effect: AccessEffect | EffectByMember,
  why: string,
  lane?: Lane,
): readonly [string, EventTypeInfo] {
  const family = type.startsWith(CAEP_BASE) ? 'CAEP' : type.startsWith(RISC_BASE) ? 'RISC' : 'SSF'
  const name = type.slice(type.lastIndexOf('/') + 1)
  return [type, { type, family, name, effect, why, ...(lane && { lane }) }]
}

/**
 * The one table of what an event does to access. In doubt a type tightens: a needless urgent event costs a
 * little budget, a revocation in the routine lane costs time to revoke.
 */
export const EVENT_TYPES: ReadonlyMap<string, EventTypeInfo> = new Map([
  row(CAEP.sessionRevoked, 'tightens', 'sessions end'),
  row(CAEP.tokenClaimsChange, 'tightens', 'a token in use says more than is still true'),
  row(
    CAEP.credentialChange,
    {
      member: 'change_type',
      values: { revoke: 'tightens', delete: 'tightens', update: 'tightens', create: 'neutral' },
      otherwise: 'neutral',
    },
    'what was proved with the old credential must be proved again; a new one takes nothing away',
  ),
  row(
    CAEP.assuranceLevelChange,
    {
      member: 'change_direction',
      values: { decrease: 'tightens', increase: 'loosens' },
      otherwise: 'tightens',
    },
    'a change whose direction is not said may be a fall',
  ),
  row(
    CAEP.deviceComplianceChange,
    {
      member: 'current_status',
      values: { 'not-compliant': 'tightens', compliant: 'loosens' },
      otherwise: 'neutral',
    },
    'access from the device follows its state',
  ),
  row(CAEP.sessionEstablished, 'neutral', 'an observation'),
  row(CAEP.sessionPresented, 'neutral', 'an observation'),
  row(
    CAEP.riskLevelChange,
    {
      member: 'current_level',
      values: { HIGH: 'tightens', MEDIUM: 'tightens', LOW: 'loosens' },
      otherwise: 'neutral',
    },
    'MEDIUM tightens even when it falls from HIGH: it is still no all-clear',
  ),
  row(RISC.accountCredentialChangeRequired, 'tightens', 'the credential is not to be trusted until changed'),
  row(RISC.accountPurged, 'tightens', 'the account is gone'),
  row(RISC.accountDisabled, 'tightens', 'the account is closed'),
  row(RISC.accountEnabled, 'loosens', 'the account is open again'),
  row(RISC.identifierChanged, 'neutral', 'the same person under a new name keeps the same access'),
  row(RISC.identifierRecycled, 'tightens', 'another person now holds the name and must not inherit access'),
  row(RISC.credentialCompromise, 'tightens', 'someone else may hold the credential'),
  row(RISC.optIn, 'neutral', 'about sharing events, not about access'),
  row(RISC.optOutInitiated, 'neutral', 'about sharing events, not about access'),
  row(RISC.optOutCancelled, 'neutral', 'about sharing events, not about access'),
  row(RISC.optOutEffective, 'neutral', 'about sharing events, not about access'),
  row(RISC.recoveryActivated, 'neutral', 'a hint: recovery began, access has not changed yet'),
  row(RISC.recoveryInformationChanged, 'neutral', 'a hint: the ways of recovery changed, access has not'),
  row(RISC.sessionsRevoked, 'tightens', 'all sessions end (deprecated; CAEP session-revoked replaces it)'),
  // They change no access, but a receiver waits seconds for them (SSF 1.0 §8.1.4.2), so not behind a backlog.
  row(SSF.verification, 'neutral', 'shows that the stream works', 'urgent'),
  row(SSF.streamUpdated, 'neutral', 'says what became of the stream', 'urgent'),
])

/** Every CAEP and RISC type: what a stream may ask for. The two SSF framework types are sent unasked. */
export const EVENTS_SUPPORTED: readonly string[] = [...EVENT_TYPES.values()]
  .filter((info) => info.family !== 'SSF')
  .map((info) => info.type)

/**
 * Effect and lane of one event, from its type and, where the type alone does not say, from its payload.
 * Unknown types are neutral and routine. The control lane is never given here: only a containment has it.
 */
export function classifyEvent(
  type: string,
  claims: Readonly<Record<string, unknown>>,
): { effect: AccessEffect; lane: Lane } {
  const info = EVENT_TYPES.get(type)
  if (!info) return { effect: 'neutral', lane: 'routine' }
  const effect = typeof info.effect === 'string' ? info.effect : effectByMember(info.effect, claims)
  return { effect, lane: info.lane ?? (effect === 'tightens' ? 'urgent' : 'routine') }
}

function effectByMember(rule: EffectByMember, claims: Readonly<Record<string, unknown>>): AccessEffect {
  const value = claims[rule.member]
  if (typeof value !== 'string' || !Object.hasOwn(rule.values, value)) return rule.otherwise
  return rule.values[value] as AccessEffect
}
