import { type ApiSection, closed, nullable, pageOf, TEXT, TIME, UUID } from '../http/api-description.js'
import { PAGE_QUERY } from '../http/page.js'
import { NEW_TRANSMITTER, TRANSMITTER_CHANGE } from './transmitter-router.js'

const CHANGEABLE = TRANSMITTER_CHANGE.properties
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
    delivery: closed({ method: { const: 'push' } }),
    tolerances: CHANGEABLE.tolerances,
    budget_per_s: CHANGEABLE.budget_per_s,
    enabled: { type: 'boolean' },
    receiver_id: nullable(UUID),
    version: { type: 'integer', minimum: 1 },
    ingest_url: { type: 'string', format: 'uri' },
    created_at: TIME,
    updated_at: TIME,
  },
  { title: 'Transmitter', optional: ['jwks_uri', 'jwks', 'discover'] },
)

const read = { permission: 'read' }
const manage = { permission: 'transmitters.manage' }
const one = { description: 'The transmitter.', schema: TRANSMITTER }
/** What a URL gave that is no metadata is ERR_INVALID_REQUEST. */
const errors = { 400: ['ERR_ADDRESS_REFUSED'], 409: ['ERR_CONFLICT'] }

/** Told of `transmitterRouter`. */
export const TRANSMITTER_API: ApiSection = {
  name: 'Transmitters',
  description: 'Upstream transmitters that may push SETs.',
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
      description: 'With exactly one of jwks_uri, jwks and discover.',
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
  ],
}
