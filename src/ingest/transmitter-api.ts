import { type ApiSection, closed, nullable, pageOf, TEXT, TIME, UUID } from '../http/api-description.js'
import { PAGE_QUERY } from '../http/page.js'
import { NEW_TRANSMITTER, TRANSMITTER_CHANGE } from './transmitter-router.js'

const CHANGEABLE = TRANSMITTER_CHANGE.properties
const TEXTS = { type: 'array', items: TEXT }
const CREDENTIALS = CHANGEABLE.delivery.properties.credentials.properties

const DELIVERY = closed(
  {
    method: { enum: ['push', 'poll'] },
    events_requested: TEXTS,
    credentials: closed(
      {
        type: { enum: ['token', 'client'] },
        client_id: TEXT,
        token_endpoint: TEXT,
        authorization_server: TEXT,
        token_endpoint_auth_method: CREDENTIALS.token_endpoint_auth_method,
        scope: TEXT,
      },
      {
        optional: [
          'client_id',
          'token_endpoint',
          'authorization_server',
          'token_endpoint_auth_method',
          'scope',
        ],
      },
    ),
  },
  { optional: ['events_requested', 'credentials'] },
)

const STREAM = closed(
  {
    state: { enum: ['setup', 'active', 'stopped'] },
    stream_id: nullable(TEXT),
    audience: nullable(TEXTS),
    events_delivered: nullable(TEXTS),
    events_missing: TEXTS,
    status: nullable(TEXT),
    status_reason: nullable(TEXT),
    status_at: nullable(TIME),
    verification_requested_at: nullable(TIME),
    verified_at: nullable(TIME),
    last_poll_at: nullable(TIME),
    last_error: nullable(TEXT),
    last_error_at: nullable(TIME),
  },
  { title: 'UpstreamStream' },
)

const TRANSMITTER = closed(
  {
    id: UUID,
    name: TEXT,
    issuer: TEXT,
    jwks_uri: TEXT,
    jwks: { type: 'object', additionalProperties: true },
    discover: CHANGEABLE.discover,
    audience: { type: 'array', items: TEXT },
    algorithms: CHANGEABLE.algorithms,
    has_authorization_header: { type: 'boolean' },
    delivery: DELIVERY,
    stream: STREAM,
    tolerances: CHANGEABLE.tolerances,
    budget_per_s: CHANGEABLE.budget_per_s,
    urgent_types: TEXTS,
    enabled: { type: 'boolean' },
    receiver_id: nullable(UUID),
    version: { type: 'integer', minimum: 1 },
    ingest_url: { type: 'string', format: 'uri' },
    created_at: TIME,
    updated_at: TIME,
  },
  { title: 'Transmitter', optional: ['jwks_uri', 'jwks', 'discover', 'stream'] },
)

const read = { permission: 'read' }
const manage = { permission: 'transmitters.manage' }
const one = { description: 'The transmitter.', schema: TRANSMITTER }
/** What a URL gave that is no metadata is ERR_INVALID_REQUEST. */
const errors = { 400: ['ERR_ADDRESS_REFUSED'], 409: ['ERR_CONFLICT'] }

/** Told of `transmitterRouter`. */
export const TRANSMITTER_API: ApiSection = {
  name: 'Transmitters',
  description: 'Upstream transmitters: who may push SETs, and at whom the hub holds a stream of its own.',
  routes: [
    {
      id: 'listTransmitters',
      method: 'get',
      path: '/v1/transmitters',
      summary: 'Transmitters by name',
      access: read,
      query: PAGE_QUERY,
      answers: { 200: { description: 'A page of transmitters.', schema: pageOf(TRANSMITTER) } },
    },
    {
      id: 'createTransmitter',
      method: 'post',
      path: '/v1/transmitters',
      summary: 'Register a transmitter',
      description:
        'With exactly one of jwks_uri, jwks and discover. With discover and delivery.credentials the hub makes a stream there itself; then issuer and audience may be left out.',
      access: manage,
      body: NEW_TRANSMITTER,
      answers: { 201: { description: 'The transmitter; it pushes to ingest_url.', schema: TRANSMITTER } },
      errors,
    },
    {
      id: 'getTransmitter',
      method: 'get',
      path: '/v1/transmitters/{id}',
      summary: 'One transmitter',
      access: read,
      answers: { 200: one },
    },
    {
      id: 'updateTransmitter',
      method: 'patch',
      path: '/v1/transmitters/{id}',
      summary: 'Change a transmitter; what is absent stays',
      access: manage,
      body: TRANSMITTER_CHANGE,
      answers: { 200: one },
      errors,
    },
    {
      id: 'deleteTransmitter',
      method: 'delete',
      path: '/v1/transmitters/{id}',
      summary: 'Take no more SETs from a transmitter',
      access: manage,
      answers: { 204: { description: 'It is gone; events already taken go on.' } },
    },
    {
      id: 'verifyTransmitter',
      method: 'post',
      path: '/v1/transmitters/{id}/verify',
      summary: 'Ask for a verification of the stream that the hub holds there',
      description: 'stream.verified_at is null until the event has come through.',
      access: manage,
      answers: { 202: { description: 'It is asked for.', schema: closed({}) } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
  ],
}
