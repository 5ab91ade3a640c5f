import { randomUUID } from 'node:crypto'
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Effect } from './ledger.js'

export const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
export const SESSION_ESTABLISHED = 'https://schemas.openid.net/secevent/caep/event-type/session-established'
export const ACCOUNT_DISABLED = 'https://schemas.openid.net/secevent/risc/event-type/account-disabled'
export const ACCOUNT_ENABLED = 'https://schemas.openid.net/secevent/risc/event-type/account-enabled'
/** As the README of the hub says it, written out again: the ledger judges the hub by it. */
export const EFFECTS: Readonly<Record<string, Effect>> = {
  [SESSION_REVOKED]: 'tightens',
  [SESSION_ESTABLISHED]: 'neutral',
  [ACCOUNT_DISABLED]: 'tightens',
  [ACCOUNT_ENABLED]: 'loosens',
}
export const HUB_AUDIENCE = 'https://hub.example'

export interface EventToSign {
  txn: string
  /** Default: a new one. */
  jti?: string
  /** Default: session-revoked, which is urgent. */
  type?: string
  user: string
  claims?: object
  /** Seconds since the epoch. Default: now. */
  iatS?: number
}

/** An upstream transmitter with keys of its own, as an identity provider would be. */
export interface Upstream {
  readonly issuer: string
  readonly jwks: { keys: object[] }
  /** Where the hub shall fetch the keys instead of being given them. */
  readonly jwksUri?: string
  /** A SET (RFC 8417) in compact form. */
  sign(event: EventToSign): Promise<string>
}

export interface SetKey {
  readonly kid: string
  readonly privateKey: CryptoKey
  readonly jwk: object
}

export async function makeSetKey(): Promise<SetKey> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const kid = randomUUID()
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } }
}

export function signEvent(
  issuer: string,
  { kid, privateKey }: Pick<SetKey, 'kid' | 'privateKey'>,
  { txn, jti = randomUUID(), type = SESSION_REVOKED, user, claims, iatS }: EventToSign,
): Promise<string> {
  const now = iatS ?? Math.floor(Date.now() / 1000)
  return new SignJWT({
    txn,
    sub_id: { format: 'iss_sub', iss: issuer, sub: user },
    events: { [type]: { event_timestamp: now, ...claims } },
  })
    .setProtectedHeader({ alg: 'ES256', kid, typ: 'secevent+jwt' })
    .setIssuer(issuer)
    .setAudience(HUB_AUDIENCE)
    .setIssuedAt(now)
    .setJti(jti)
    .sign(privateKey)
}

export async function createUpstream(name: string): Promise<Upstream> {
  const issuer = `https://${name}.example`
  const key = await makeSetKey()
  return { issuer, jwks: { keys: [key.jwk] }, sign: (event) => signEvent(issuer, key, event) }
}
