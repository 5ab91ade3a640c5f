import {
  type ApiAnswer,
  type ApiRoute,
  type ApiSection,
  COUNT,
  closed,
  TEXT,
} from '../http/api-description.js'
import { issuerPath } from '../kernel/issuer-url.js'
import { JWK_SET } from '../keys/key-api.js'
import { RISC_METHODS } from './delivery-dialect.js'
import { metadataPath } from './metadata-router.js'
import { METHOD_URI, STREAM_STATUSES } from './stream.js'
import {
  NEW_STREAM,
  STATUS_CHANGE,
  STREAM_CHANGE,
  SUBJECT_CHANGE,
  VERIFICATION_REQUEST,
} from './stream-requests.js'

const URI = { type: 'string', format: 'uri' }
const TYPES = { type: 'array', items: TEXT }
const METADATA = closed(
  {
    spec_version: { const: '1_0' },
    issuer: URI,
    jwks_uri: URI,
    delivery_methods_supported: { type: 'array', minItems: 1, items: { enum: Object.values(METHOD_URI) } },
    configuration_endpoint: URI,
    status_endpoint: URI,
    add_subject_endpoint: URI,
    remove_subject_endpoint: URI,
    verification_endpoint: URI,
    authorization_schemes: { type: 'array', minItems: 1, items: closed({ spec_urn: TEXT }) },
    default_subjects: { const: 'ALL' },
  },
  { title: 'TransmitterMetadata', optional: ['default_subjects'] },
)
const CONFIGURATION = closed(
  {
    stream_id: TEXT,
    iss: URI,
    aud: TEXT,
    events_supported: TYPES,
    events_requested: TYPES,
    events_delivered: TYPES,
    delivery: closed(
      {
        method: { enum: [...Object.values(METHOD_URI), ...RISC_METHODS] },
        endpoint_url: TEXT,
        delivery_method: { enum: RISC_METHODS, description: 'With risc_delivery_methods alone, as url.' },
        url: TEXT,
      },
      { optional: ['delivery_method', 'url'] },
    ),
    min_verification_interval: COUNT,
    inactivity_timeout: COUNT,
    description: TEXT,
  },
  {
    title: 'StreamConfiguration',
    optional: ['events_requested', 'min_verification_interval', 'inactivity_timeout', 'description'],
  },
)
const STATUS = closed(
  { stream_id: TEXT, status: { enum: STREAM_STATUSES }, reason: TEXT },
  { title: 'StreamStatus', optional: ['reason'] },
)

const read = { scope: 'ssf.read' }
const manage = { scope: 'ssf.manage' }
const stream: ApiAnswer = { description: 'The configuration.', schema: CONFIGURATION }
const STREAM_ID = { type: 'object', properties: { stream_id: { type: 'string', minLength: 1 } } }
const NEEDED_STREAM_ID = { ...STREAM_ID, required: ['stream_id'] }
/** For a receiver with `answer_200_for_204`. */
const insteadOf204: Record<number, ApiAnswer> = {
  200: { description: 'As 204, for a receiver with answer_200_for_204.', schema: closed({}) },
}
const noStream = { 404: ['ERR_STREAM_NOT_FOUND'] }

/** SSF 1.0 §7, §8: told of `ssfRouter`. */
export function ssfApi(issuer: string): ApiSection {
  const below = (path: string) => issuerPath(issuer) + path
  return {
    name: 'SSF',
    description: 'The hub as an SSF 1.0 Transmitter. Members that nobody defined are ignored (§4.2.3).',
    routes: [
      ...metadataRoutes(issuer),
      ...configurationRoutes(below('/ssf/streams')),
      ...statusRoutes(below('/ssf/status')),
      ...subjectRoutes(below('/ssf/subjects')),
      {
        id: 'requestVerification',
        method: 'post',
        path: below('/ssf/verify'),
        summary: 'Ask for a verification event (§8.1.4.2)',
        access: manage,
        body: VERIFICATION_REQUEST,
        answers: { ...insteadOf204, 204: { description: 'It is on its way.' } },
        errors: { ...noStream, 429: ['ERR_VERIFICATION_TOO_SOON'] },
      },
    ],
  }
}

function metadataRoutes(issuer: string): ApiRoute[] {
  return [
    {
      id: 'getTransmitterMetadata',
      method: 'get',
      path: metadataPath(issuer),
      summary: 'Transmitter metadata (§7.1)',
      access: 'public',
      answers: { 200: { description: 'The metadata.', schema: METADATA } },
    },
    {
      id: 'getSetKeys',
      method: 'get',
      path: `${issuerPath(issuer)}/ssf/jwks.json`,
      summary: 'Public keys that SETs are signed with',
      access: 'public',
      answers: { 200: { description: 'A JWK Set.', schema: JWK_SET } },
    },
  ]
}

/** SSF 1.0 §8.1.1. */
function configurationRoutes(path: string): ApiRoute[] {
  return [
    {
      id: 'createStream',
      method: 'post',
      path,
      summary: 'Create a stream (§8.1.1.1)',
      access: manage,
      body: NEW_STREAM,
      answers: { 201: stream },
      errors: { 400: ['ERR_ADDRESS_REFUSED'], 403: ['ERR_STREAM_LIMIT'] },
    },
    {
      id: 'readStreams',
      method: 'get',
      path,
      summary: 'Read one stream, or without stream_id all of them (§8.1.1.2)',
      access: read,
      query: STREAM_ID,
      answers: {
        200: {
          description: 'The configuration, or a list of them.',
          schema: { oneOf: [CONFIGURATION, { type: 'array', items: CONFIGURATION }] },
        },
      },
      errors: noStream,
    },
    {
      id: 'updateStream',
      method: 'patch',
      path,
      summary: 'Change a stream; what is absent stays (§8.1.1.3)',
      access: manage,
      body: STREAM_CHANGE,
      answers: { 200: stream },
      errors: { ...noStream, 400: ['ERR_ADDRESS_REFUSED'] },
    },
    {
      id: 'replaceStream',
      method: 'put',
      path,
      summary: 'Replace a stream; what is absent goes (§8.1.1.4)',
      access: manage,
      body: STREAM_CHANGE,
      answers: { 200: stream },
      errors: { ...noStream, 400: ['ERR_ADDRESS_REFUSED'] },
    },
    {
      id: 'deleteStream',
      method: 'delete',
      path,
      summary: 'Delete a stream (§8.1.1.5)',
      access: manage,
      query: NEEDED_STREAM_ID,
      answers: {
        ...insteadOf204,
        202: { description: 'It is gone; a SET under way may still arrive.' },
        204: { description: 'It is gone, and nothing more is sent.' },
      },
      errors: noStream,
    },
  ]
}

/** SSF 1.0 §8.1.2. */
function statusRoutes(path: string): ApiRoute[] {
  return [
    {
      id: 'getStreamStatus',
      method: 'get',
      path,
      summary: 'Read the status of a stream (§8.1.2.1)',
      access: read,
      query: NEEDED_STREAM_ID,
      answers: { 200: { description: 'The status.', schema: STATUS } },
      errors: noStream,
    },
    {
      id: 'setStreamStatus',
      method: 'post',
      path,
      summary: 'Change the status of a stream (§8.1.2.2)',
      access: manage,
      body: STATUS_CHANGE,
      answers: {
        200: { description: 'It holds.', schema: STATUS },
        202: { description: 'It is set; the process that sends has not confirmed yet.', schema: STATUS },
      },
      errors: { ...noStream, 403: ['ERR_STATUS_HELD'] },
    },
  ]
}

/** SSF 1.0 §8.1.3. */
function subjectRoutes(path: string): ApiRoute[] {
  return [
    {
      id: 'addSubject',
      method: 'post',
      path: `${path}/add`,
      summary: 'Add a subject to a stream (§8.1.3.2)',
      access: manage,
      body: SUBJECT_CHANGE,
      answers: { 200: { description: 'It is added, or was there.' } },
      errors: { ...noStream, 400: ['ERR_INVALID_SUBJECT'], 429: ['ERR_SUBJECT_LIMIT'] },
    },
    {
      id: 'removeSubject',
      method: 'post',
      path: `${path}/remove`,
      summary: 'Remove a subject from a stream (§8.1.3.3)',
      access: manage,
      body: SUBJECT_CHANGE,
      answers: { ...insteadOf204, 204: { description: 'It is removed, or was not there.' } },
      errors: { ...noStream, 400: ['ERR_INVALID_SUBJECT'], 429: ['ERR_SUBJECT_LIMIT'] },
    },
  ]
}
