import { type ApiSection, closed, pageOf, TEXT, TIME, TIME_OR_NULL } from '../http/api-description.js'
import { KEY_ROTATION } from './keys-router.js'

/** A public key of the hub: no private member has a place in it. */
const JWK = closed(
  {
    kty: { enum: ['RSA', 'EC'] },
    kid: TEXT,
    use: { const: 'sig' },
    alg: { enum: ['RS256', 'ES256'] },
    n: TEXT,
    e: TEXT,
    crv: TEXT,
    x: TEXT,
    y: TEXT,
  },
  { title: 'PublicKey', optional: ['n', 'e', 'crv', 'x', 'y'] },
)

/** RFC 7517 §5. */
export const JWK_SET = closed({ keys: { type: 'array', items: JWK } }, { title: 'KeySet' })

const SIGNING_KEY = closed(
  {
    kid: TEXT,
    use: { enum: ['set', 'log', 'ring'] },
    alg: { enum: ['RS256', 'ES256', 'A256GCM'] },
    state: { enum: ['next', 'active', 'retiring', 'retired'] },
    origin: { enum: ['generated', 'file'] },
    created_at: TIME,
    active_from: TIME,
    retires_at: TIME_OR_NULL,
    retired_at: TIME_OR_NULL,
  },
  { title: 'SigningKey' },
)
const manage = { permission: 'keys.manage' }

/** Told of `keysRouter`. */
export const KEY_API: ApiSection = {
  name: 'Keys',
  description: 'Keys of the hub.',
  routes: [
    {
      id: 'listKeys',
      method: 'get',
      path: '/v1/keys',
      summary: 'Signing keys and those of the ring that seals secrets, with states and times',
      access: { permission: 'read' },
      answers: { 200: { description: 'All keys, on one page.', schema: pageOf(SIGNING_KEY) } },
    },
    {
      id: 'rotateKeys',
      method: 'post',
      path: '/v1/keys/rotate',
      summary: 'Publish new keys, which sign once receivers had the time to fetch them',
      access: manage,
      body: KEY_ROTATION,
      answers: {
        201: {
          description: 'The new keys.',
          schema: closed({ items: { type: 'array', items: SIGNING_KEY } }),
        },
      },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'retireKey',
      method: 'post',
      path: '/v1/keys/{kid}/retire',
      summary: 'Take a key that signs no longer, or not soon, out of the published ones',
      access: manage,
      answers: { 200: { description: 'The key.', schema: SIGNING_KEY } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'getLogKeys',
      method: 'get',
      path: '/v1/log-keys',
      summary: 'Public keys of the event log, for other readers of Kafka',
      access: { permission: 'read' },
      answers: { 200: { description: 'A JWK Set.', schema: JWK_SET } },
    },
  ],
}
