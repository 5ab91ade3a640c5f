import { parseBody, parseTime } from '../http/validate.js'
import { present } from '../kernel/present.js'
import type { Scope } from './callers.js'
import { COMPATIBILITY_SWITCHES, parseCompatibility, toCompatibilityBody } from './compatibility.js'
import { PROFILES, type Profile } from './profile.js'
import {
  CLIENT_AUTH_METHODS,
  type ClientAuthMethod,
  type NewReceiver,
  type Receiver,
  type ReceiverSettings,
  type ReceiverToken,
} from './receiver.js'

const GRANTS = {
  type: 'object',
  properties: {
    event_types: {
      type: ['array', 'null'],
      maxItems: 200,
      uniqueItems: true,
      items: { type: 'string', format: 'uri', maxLength: 500 },
    },
    sources: {
      type: ['array', 'null'],
      maxItems: 1000,
      uniqueItems: true,
      items: { type: 'string', minLength: 1, maxLength: 200 },
    },
  },
  additionalProperties: false,
}

/** RFC 7517, public members only: a private key sent here by mistake is refused, not stored. */
const PUBLIC_JWK = {
  type: 'object',
  properties: { kty: { enum: ['RSA', 'EC', 'OKP'] }, kid: { type: 'string', maxLength: 200 } },
  required: ['kty'],
  not: { anyOf: ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].map((member) => ({ required: [member] })) },
}

const PROPERTIES = {
  name: { type: 'string', minLength: 1, maxLength: 100 },
  grants: GRANTS,
  default_subjects: { enum: ['ALL', 'NONE'] },
  reports: { type: 'array', maxItems: 10, uniqueItems: true, items: { enum: ['applied'] } },
  profile: { enum: [...PROFILES, null] },
  compatibility: {
    type: 'object',
    description: 'Departures from the standards: docs/receivers.md.',
    properties: Object.fromEntries(COMPATIBILITY_SWITCHES.map((name) => [name, { type: 'boolean' }])),
    // What else there is, parseCompatibility refuses: its answer lists the names.
    additionalProperties: { type: 'boolean' },
  },
  inactivity_timeout_s: {
    anyOf: [{ type: 'null' }, { const: 0 }, { type: 'integer', minimum: 60, maximum: 31_536_000 }],
  },
  signing_alg: { enum: ['RS256', 'ES256'] },
  token_endpoint_auth_method: { enum: CLIENT_AUTH_METHODS },
  jwks: {
    type: 'object',
    properties: { keys: { type: 'array', minItems: 1, maxItems: 10, items: PUBLIC_JWK } },
    required: ['keys'],
    additionalProperties: false,
  },
}

export const NEW_RECEIVER = {
  type: 'object',
  properties: { ...PROPERTIES, client_id: { type: 'string', minLength: 1, maxLength: 200 } },
  required: ['name'],
  additionalProperties: false,
}
export const RECEIVER_CHANGE = {
  type: 'object',
  properties: PROPERTIES,
  minProperties: 1,
  additionalProperties: false,
}
export const TOKEN_REQUEST = {
  type: 'object',
  properties: {
    scopes: {
      type: 'array',
      minItems: 1,
      maxItems: 10,
      uniqueItems: true,
      items: { enum: ['ssf.read', 'ssf.manage'] },
    },
    expires_at: { type: ['string', 'null'], format: 'date-time' },
  },
  required: ['scopes'],
  additionalProperties: false,
}

interface ReceiverBody {
  name: string
  grants?: { event_types?: string[] | null; sources?: string[] | null }
  default_subjects?: 'ALL' | 'NONE'
  reports?: string[]
  profile?: Profile | null
  compatibility?: Record<string, boolean>
  inactivity_timeout_s?: number | null
  signing_alg?: 'RS256' | 'ES256'
  token_endpoint_auth_method?: ClientAuthMethod
  jwks?: { keys: object[] }
}

/** `POST /v1/receivers`: absent grants are all types and all sources, absent `default_subjects` is `ALL`. */
export function parseNewReceiver(body: unknown): NewReceiver {
  const input = parseBody<ReceiverBody & { client_id?: string }>(NEW_RECEIVER, body)
  return {
    name: input.name,
    authMethod: 'client_secret_basic',
    jwks: null,
    defaultSubjects: 'ALL',
    reports: [],
    profile: null,
    compatibility: [],
    inactivityTimeoutS: null,
    signingAlg: 'RS256',
    grantEventTypes: null,
    grantSources: null,
    ...toSettings(input),
    ...present({ clientId: input.client_id }),
  }
}

/** `PATCH /v1/receivers/{id}`: what is absent stays; `null` in a grant means all again. */
export function parseReceiverChange(body: unknown): Partial<ReceiverSettings> {
  return toSettings(parseBody<Partial<ReceiverBody>>(RECEIVER_CHANGE, body))
}

export function parseTokenRequest(body: unknown): { scopes: Scope[]; expiresAt: Date | null } {
  const { scopes, expires_at } = parseBody<{ scopes: Scope[]; expires_at?: string | null }>(
    TOKEN_REQUEST,
    body,
  )
  return { scopes, expiresAt: expires_at ? parseTime('expires_at', expires_at) : null }
}

function toSettings(input: Partial<ReceiverBody>): Partial<ReceiverSettings> {
  const { name, grants, reports, profile, compatibility, jwks } = input
  return present({
    name,
    authMethod: input.token_endpoint_auth_method,
    jwks,
    defaultSubjects: input.default_subjects,
    reports,
    profile,
    compatibility: compatibility && parseCompatibility(compatibility),
    inactivityTimeoutS: input.inactivity_timeout_s,
    signingAlg: input.signing_alg,
    grantEventTypes: grants?.event_types,
    grantSources: grants?.sources,
  })
}

export function toReceiverBody(receiver: Receiver) {
  return {
    id: receiver.id,
    name: receiver.name,
    client_id: receiver.clientId,
    ...(receiver.tokenIssuer !== null && { token_issuer: receiver.tokenIssuer }),
    audience: receiver.audience,
    token_endpoint_auth_method: receiver.authMethod,
    ...(receiver.jwks && { jwks: receiver.jwks }),
    grants: { event_types: receiver.grantEventTypes, sources: receiver.grantSources },
    default_subjects: receiver.defaultSubjects,
    reports: receiver.reports,
    profile: receiver.profile,
    compatibility: toCompatibilityBody(receiver.compatibility),
    inactivity_timeout_s: receiver.inactivityTimeoutS,
    signing_alg: receiver.signingAlg,
    enabled: receiver.enabled,
    created_at: receiver.createdAt.toISOString(),
    updated_at: receiver.updatedAt.toISOString(),
  }
}

export function toTokenBody(token: ReceiverToken) {
  return {
    id: token.id,
    scopes: token.scopes,
    created_at: token.createdAt.toISOString(),
    expires_at: token.expiresAt?.toISOString() ?? null,
  }
}
