import type { AccessEffect, Lane } from './event.js'
import { stateEffect } from './scim-state.js'

const CAEP_BASE = 'https://schemas.openid.net/secevent/caep/event-type/'
const RISC_BASE = 'https://schemas.openid.net/secevent/risc/event-type/'
const SSF_BASE = 'https://schemas.openid.net/secevent/ssf/event-type/'
const SCIM_BASE = 'urn:ietf:params:scim:event:'

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

/** RFC 9967 §2.3 to §2.5. */
export const SCIM = {
  feedAdd: `${SCIM_BASE}feed:add`,
  feedRemove: `${SCIM_BASE}feed:remove`,
  createFull: `${SCIM_BASE}prov:create:full`,
  createNotice: `${SCIM_BASE}prov:create:notice`,
  patchFull: `${SCIM_BASE}prov:patch:full`,
  patchNotice: `${SCIM_BASE}prov:patch:notice`,
  putFull: `${SCIM_BASE}prov:put:full`,
  putNotice: `${SCIM_BASE}prov:put:notice`,
  delete: `${SCIM_BASE}prov:delete`,
  activate: `${SCIM_BASE}prov:activate`,
  deactivate: `${SCIM_BASE}prov:deactivate`,
  asyncResponse: `${SCIM_BASE}misc:asyncresp`,
} as const

export interface EventTypeInfo {
  readonly type: string
  /** `custom`: registered by an operator. */
  readonly family: 'CAEP' | 'RISC' | 'SSF' | 'SCIM' | 'custom'
  /** Last part of a built-in URI, the whole of a custom one. */
  readonly name: string
  readonly effect: EffectRule
  /** Of the payload, JSON Schema 2020-12; only of custom types. Built-in ones stand in `schemas/`. */
  readonly schema?: object
  /** Lane for every effect. Absent: tightening is `urgent`, the rest `routine`. */
  readonly lane?: Lane
  /** Why it is classed so, for docs. */
  readonly why: string
}

/**
 * The effect whatever the payload says; or the member it depends on and what each value does; or what a SCIM payload
 * says of the resource's `active`.
 */
export type EffectRule = AccessEffect | EffectByMember | { readonly scimState: true }

export interface EffectByMember {
  readonly member: string
  readonly values: Readonly<Record<string, AccessEffect>>
  /** When the member is absent or has another value. */
  readonly otherwise: AccessEffect
}

const BASES = { CAEP: CAEP_BASE, RISC: RISC_BASE, SSF: SSF_BASE, SCIM: SCIM_BASE } as const

function row(type: string, effect: EffectRule, why: string, lane?: Lane): readonly [string, EventTypeInfo] {
  const [family, base] = Object.entries(BASES).find(([, start]) => type.startsWith(start)) as [
    keyof typeof BASES,
    string,
  ]
  return [type, { type, family, name: type.slice(base.length), effect, why, ...(lane && { lane }) }]
}

const SCIM_STATE: EffectRule = { scimState: true }

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
  row(SCIM.deactivate, 'tightens', 'the account is closed'),
  row(SCIM.delete, 'tightens', 'the account is gone'),
  row(SCIM.activate, 'loosens', 'the account is open again'),
  row(SCIM.createFull, 'loosens', 'sent after a deletion that overtook it, it would bring the account back'),
  row(
    SCIM.createNotice,
    'loosens',
    'sent after a deletion that overtook it, it would bring the account back',
  ),
  row(SCIM.patchFull, SCIM_STATE, 'a patch may close the account, open it, or do neither'),
  row(SCIM.patchNotice, SCIM_STATE, 'that `active` changed is said, not how: it may have closed'),
  row(SCIM.putFull, SCIM_STATE, 'the new state may be closed or open'),
  row(SCIM.putNotice, SCIM_STATE, 'that `active` changed is said, not how: it may have closed'),
  row(SCIM.feedAdd, 'neutral', 'about sharing events, not about access'),
  row(SCIM.feedRemove, 'neutral', 'about sharing events, not about access: the account lives on'),
  row(SCIM.asyncResponse, 'neutral', 'a request has ended; what it did has events of its own'),
  // They change no access, but a receiver waits seconds for them (SSF 1.0 §8.1.4.2), so not behind a backlog.
  row(SSF.verification, 'neutral', 'shows that the stream works', 'urgent'),
  row(SSF.streamUpdated, 'neutral', 'says what became of the stream', 'urgent'),
])

/** Every type that a hub knows. */
export interface EventTypes {
  get(type: string): EventTypeInfo | undefined
  /** What a stream may ask for: all but the two SSF framework types, which are sent unasked. */
  supported(): readonly string[]
}

/** A type that an operator registered. */
export type CustomEventType = Pick<EventTypeInfo, 'type' | 'effect' | 'schema'> & {
  readonly description?: string
}

/** The built-in types and these. A custom type never takes a built-in one's place. */
export function createEventTypes(custom: readonly CustomEventType[]): EventTypes {
  const types = new Map(EVENT_TYPES)
  for (const { type, effect, schema, description } of custom) {
    if (types.has(type)) continue
    const info = { type, family: 'custom', name: type, effect, why: description ?? '' } as const
    types.set(type, schema ? { ...info, schema } : info)
  }
  const supported = [...types.values()].filter((info) => info.family !== 'SSF').map((info) => info.type)
  return { get: (type) => types.get(type), supported: () => supported }
}

/** What a hub knows to which nobody has registered a type. */
export const BUILT_IN_EVENT_TYPES: EventTypes = createEventTypes([])

/** Every CAEP, RISC and SCIM type. */
export const EVENTS_SUPPORTED: readonly string[] = BUILT_IN_EVENT_TYPES.supported()

/** Types whose specification closes the list of their members: what is beside them is not sent on. */
export function isOpenIdType(type: string): boolean {
  const family = EVENT_TYPES.get(type)?.family
  return family === 'CAEP' || family === 'RISC' || family === 'SSF'
}

/** The registered spelling: drafts of RFC 9967 wrote `SCIM` and `asyncResp`. */
export function finalSpelling(type: string): string {
  if (type.slice(0, SCIM_BASE.length).toLowerCase() !== SCIM_BASE) return type
  const registered = type.toLowerCase()
  return EVENT_TYPES.has(registered) ? registered : type
}

/** Where no operator may register a type: these names are given by others. */
export function isReservedType(type: string): boolean {
  return /^(https?:\/\/schemas\.openid\.net([/:?#]|$)|urn:ietf:)/i.test(type)
}

/**
 * Effect and lane of one event, from its type and, where the type alone does not say, from its payload.
 * Unknown types are neutral and routine. The control lane is never given here: only a containment has it.
 */
export function classifyEvent(
  type: string,
  claims: Readonly<Record<string, unknown>>,
  types: EventTypes = BUILT_IN_EVENT_TYPES,
): { effect: AccessEffect; lane: Lane } {
  const info = types.get(type)
  if (!info) return { effect: 'neutral', lane: 'routine' }
  const effect = effectOf(info.effect, claims)
  return { effect, lane: info.lane ?? (effect === 'tightens' ? 'urgent' : 'routine') }
}

function effectOf(rule: EffectRule, claims: Readonly<Record<string, unknown>>): AccessEffect {
  if (typeof rule === 'string') return rule
  if ('scimState' in rule) return stateEffect(claims)
  const value = claims[rule.member]
  if (typeof value !== 'string' || !Object.hasOwn(rule.values, value)) return rule.otherwise
  return rule.values[value] as AccessEffect
}

/** The lanes that events of a type may take, the faster first. */
export function lanesOf({ effect, lane }: Pick<EventTypeInfo, 'effect' | 'lane'>): readonly Lane[] {
  if (lane) return [lane]
  if (typeof effect === 'string') return [effect === 'tightens' ? 'urgent' : 'routine']
  const effects =
    'scimState' in effect ? ['tightens', 'neutral'] : [...Object.values(effect.values), effect.otherwise]
  const tightens = effects.filter((each) => each === 'tightens').length
  if (tightens === effects.length) return ['urgent']
  return tightens > 0 ? ['urgent', 'routine'] : ['routine']
}
