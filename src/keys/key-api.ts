import { type ApiSection, closed, TEXT } from '../http/api-description.js'

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

export const KEY_API: ApiSection = {
  name: 'Keys',
  description: 'Keys of the hub.',
  routes: [
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
