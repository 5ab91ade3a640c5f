import { toTimestamp } from '../kernel/clock.js'
import { InvalidRequest } from '../kernel/errors.js'
import { present } from '../kernel/present.js'
import type { StreamCredentials, StreamMethod, StreamPlan, StreamView } from './stream-plan.js'

const METHODS: Readonly<Record<string, StreamMethod>> = {
  push: 'push',
  'urn:ietf:rfc:8935': 'push',
  poll: 'poll',
  'urn:ietf:rfc:8936': 'poll',
}
/** RFC 6749 appendix A.1, A.2: a client's id and secret may hold spaces. */
const VISIBLE = { type: 'string', minLength: 1, maxLength: 4096, pattern: '^[\\u0020-\\u007e]+$' }
const PRINTABLE = { type: 'string', minLength: 1, maxLength: 4096, pattern: '^[\\u0021-\\u007e]+$' }
const URL_TEXT = { type: 'string', minLength: 1, maxLength: 2048 }

/** `delivery` of a transmitter. With `credentials` the hub makes the stream there itself. */
export const DELIVERY_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['method'],
  properties: {
    method: { enum: Object.keys(METHODS) },
    events_requested: {
      type: 'array',
      minItems: 1,
      maxItems: 100,
      uniqueItems: true,
      items: { type: 'string', minLength: 1, maxLength: 512 },
    },
    credentials: {
      type: 'object',
      additionalProperties: false,
      properties: {
        token: PRINTABLE,
        client_id: VISIBLE,
        client_secret: VISIBLE,
        token_endpoint: URL_TEXT,
        authorization_server: URL_TEXT,
        token_endpoint_auth_method: { enum: ['client_secret_basic', 'client_secret_post'] },
        scope: { type: 'string', minLength: 1, maxLength: 1024, pattern: '^[\\u0020-\\u007e]+$' },
      },
    },
  },
} as const

export interface DeliveryBody {
  method: string
  events_requested?: string[]
  credentials?: {
    token?: string
    client_id?: string
    client_secret?: string
    token_endpoint?: string
    authorization_server?: string
    token_endpoint_auth_method?: 'client_secret_basic' | 'client_secret_post'
    scope?: string
  }
}

/** @returns null for a plain push, of which the transmitter is told by hand. @throws InvalidRequest */
export function toStreamPlan(body: DeliveryBody): StreamPlan | null {
  const method = METHODS[body.method] as StreamMethod
  if (!body.credentials) {
    if (method === 'poll' || body.events_requested) {
      throw new InvalidRequest(
        'delivery.credentials is required: the hub needs them to make the stream at the transmitter.',
      )
    }
    return null
  }
  return {
    method,
    credentials: toCredentials(body.credentials),
    ...present({ eventsRequested: body.events_requested }),
  }
}

function toCredentials(body: NonNullable<DeliveryBody['credentials']>): StreamCredentials {
  const { token, client_id: clientId, client_secret: clientSecret, ...client } = body
  if (token !== undefined) {
    if (clientId !== undefined || clientSecret !== undefined || Object.keys(client).length > 0) {
      throw new InvalidRequest('delivery.credentials must be either a token or those of a client, not both.')
    }
    return { token }
  }
  if (clientId === undefined || clientSecret === undefined) {
    throw new InvalidRequest('delivery.credentials needs a token, or client_id and client_secret.')
  }
  if (client.token_endpoint !== undefined && client.authorization_server !== undefined) {
    throw new InvalidRequest('Give token_endpoint or authorization_server in delivery.credentials, not both.')
  }
  return {
    clientId,
    clientSecret,
    ...present({
      tokenEndpoint: client.token_endpoint,
      authorizationServer: client.authorization_server,
      authMethod: client.token_endpoint_auth_method,
      scope: client.scope,
    }),
  }
}

/** The members `delivery` and `stream` of a transmitter. */
export function toStreamMembers(view: StreamView | undefined): object {
  if (!view) return { delivery: { method: 'push' } }
  const { clientId, tokenEndpoint, authorizationServer, authMethod, scope } = view.credentials
  const time = (at: Date | undefined) => (at ? toTimestamp(at.getTime()) : null)
  return {
    delivery: {
      method: view.method,
      events_requested: view.eventsRequested,
      credentials: present({
        type: clientId === undefined ? 'token' : 'client',
        client_id: clientId,
        token_endpoint: tokenEndpoint,
        authorization_server: authorizationServer,
        token_endpoint_auth_method: authMethod,
        scope,
      }),
    },
    stream: {
      state: view.phase,
      stream_id: view.streamId ?? null,
      audience: view.audience ?? null,
      events_delivered: view.eventsDelivered ?? null,
      events_missing: view.eventsMissing,
      status: view.status ?? null,
      status_reason: view.statusReason ?? null,
      status_at: time(view.statusAt),
      verification_requested_at: time(view.verificationRequestedAt),
      verified_at: time(view.verifiedAt),
      last_poll_at: time(view.lastPollAt),
      last_error: view.lastError ?? null,
      last_error_at: time(view.lastErrorAt),
    },
  }
}
