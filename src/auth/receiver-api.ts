import { type ApiSection, closed, pageOf, TEXT, TIME, TIME_OR_NULL, UUID } from '../http/api-description.js'
import { PAGE_QUERY } from '../http/page.js'
import { COMPATIBILITY_SWITCHES } from './compatibility.js'
import { PROFILES } from './profile.js'
import { CLIENT_AUTH_METHODS } from './receiver.js'
import { NEW_RECEIVER, RECEIVER_CHANGE, TOKEN_REQUEST } from './receiver-body.js'
import type { Permission } from './roles.js'

const NAMES_OR_NULL = { type: ['array', 'null'], items: TEXT, description: 'Null: all.' }

const MEMBERS = {
  id: UUID,
  name: TEXT,
  client_id: TEXT,
  token_issuer: { ...TEXT, description: 'Whose client it is; absent: it gets its tokens here.' },
  audience: TEXT,
  token_endpoint_auth_method: { enum: CLIENT_AUTH_METHODS },
  jwks: closed({ keys: { type: 'array', items: { type: 'object', additionalProperties: true } } }),
  grants: closed({ event_types: NAMES_OR_NULL, sources: NAMES_OR_NULL }),
  default_subjects: { enum: ['ALL', 'NONE'] },
  reports: { type: 'array', items: TEXT },
  profile: { enum: [...PROFILES, null] },
  compatibility: closed(Object.fromEntries(COMPATIBILITY_SWITCHES.map((name) => [name, { const: true }])), {
    optional: COMPATIBILITY_SWITCHES,
  }),
  inactivity_timeout_s: { type: ['integer', 'null'], description: 'Seconds; 0: never, null: the hub’s.' },
  signing_alg: { enum: ['RS256', 'ES256'] },
  enabled: { type: 'boolean' },
  created_at: TIME,
  updated_at: TIME,
}
const RECEIVER = closed(MEMBERS, { title: 'Receiver', optional: ['jwks', 'token_issuer'] })
const RECEIVER_WITH_SECRET = closed(
  { ...MEMBERS, client_secret: TEXT },
  { title: 'ReceiverWithSecret', optional: ['jwks', 'token_issuer', 'client_secret'] },
)
const TOKEN_MEMBERS = {
  id: UUID,
  scopes: { type: 'array', items: { enum: ['ssf.read', 'ssf.manage'] } },
  created_at: TIME,
  expires_at: TIME_OR_NULL,
}
const TOKEN = closed(TOKEN_MEMBERS, { title: 'ReceiverToken' })
const ISSUED_TOKEN = closed({ ...TOKEN_MEMBERS, token: TEXT }, { title: 'IssuedReceiverToken' })

const read = { permission: 'read' satisfies Permission }
const manage = { permission: 'receivers.manage' satisfies Permission }
const one = { description: 'The receiver.', schema: RECEIVER }

/** Told of `receiverRouter`. */
export const RECEIVER_API: ApiSection = {
  name: 'Receivers',
  description: 'Who may hold streams, and which events may reach it.',
  routes: [
    {
      id: 'listReceivers',
      method: 'get',
      path: '/v1/receivers',
      summary: 'Receivers by name',
      access: read,
      query: PAGE_QUERY,
      answers: { 200: { description: 'A page of receivers.', schema: pageOf(RECEIVER) } },
    },
    {
      id: 'createReceiver',
      method: 'post',
      path: '/v1/receivers',
      summary: 'Register a receiver',
      description: 'Absent grants are all types and all sources; absent default_subjects is ALL.',
      access: manage,
      body: NEW_RECEIVER,
      answers: {
        201: {
          description:
            'The receiver. client_secret is shown once. None with private_key_jwt, and where OAUTH_ISSUER issues the tokens.',
          schema: RECEIVER_WITH_SECRET,
        },
      },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'getReceiver',
      method: 'get',
      path: '/v1/receivers/{id}',
      summary: 'One receiver',
      access: read,
      answers: { 200: one },
    },
    {
      id: 'updateReceiver',
      method: 'patch',
      path: '/v1/receivers/{id}',
      summary: 'Change a receiver; what is absent stays',
      access: manage,
      body: RECEIVER_CHANGE,
      answers: { 200: one },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'deleteReceiver',
      method: 'delete',
      path: '/v1/receivers/{id}',
      summary: 'Delete a receiver with its streams and tokens',
      access: manage,
      answers: { 204: { description: 'It is gone.' } },
    },
    {
      id: 'enableReceiver',
      method: 'post',
      path: '/v1/receivers/{id}/enable',
      summary: 'Let a receiver in again',
      access: manage,
      answers: { 200: one },
    },
    {
      id: 'disableReceiver',
      method: 'post',
      path: '/v1/receivers/{id}/disable',
      summary: 'Shut a receiver out; its tokens end at once',
      access: manage,
      answers: { 200: one },
    },
    {
      id: 'rotateReceiver',
      method: 'post',
      path: '/v1/receivers/{id}/rotate',
      summary: 'Give a receiver a new client_secret; the old one and its tokens end',
      access: manage,
      answers: { 200: { description: 'client_secret is shown once.', schema: RECEIVER_WITH_SECRET } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'listReceiverTokens',
      method: 'get',
      path: '/v1/receivers/{id}/tokens',
      summary: 'Tokens that operators made for a receiver',
      access: read,
      answers: { 200: { description: 'All of them, without their values.', schema: pageOf(TOKEN) } },
    },
    {
      id: 'issueReceiverToken',
      method: 'post',
      path: '/v1/receivers/{id}/tokens',
      summary: 'Make a token for a receiver',
      access: manage,
      body: TOKEN_REQUEST,
      answers: { 201: { description: 'token is shown once.', schema: ISSUED_TOKEN } },
      errors: { 409: ['ERR_CONFLICT', 'ERR_TOKEN_NOT_IN_PROFILE'] },
    },
    {
      id: 'revokeReceiverToken',
      method: 'delete',
      path: '/v1/receivers/{id}/tokens/{token_id}',
      summary: 'End a token',
      access: manage,
      answers: { 204: { description: 'It counts no more.' } },
    },
  ],
}
