import { createPrivateKey, randomUUID, sign } from 'node:crypto'
import { createSourceIdentity, type SourceIdentity } from '../source-identity.js'

export interface Statement {
  readonly type: string
  readonly txn: string
  /** RFC 9493. */
  readonly subject: object
}

/** The upstream that all SETs of the run come from. */
export interface Source {
  readonly identity: SourceIdentity
  /** RFC 8417 SET, signed with ES256. */
  signSet(statement: Statement): string
}

export function createSource(): Source {
  const identity = createSourceIdentity()
  const key = createPrivateKey({ key: identity.privateJwk, format: 'jwk' })
  const header = encode({ alg: 'ES256', typ: 'secevent+jwt', kid: identity.kid })
  return {
    identity,
    signSet({ type, txn, subject }) {
      const nowS = Math.floor(Date.now() / 1000)
      const content = `${header}.${encode({
        iss: identity.issuer,
        aud: identity.audience,
        jti: randomUUID(),
        iat: nowS,
        txn,
        sub_id: subject,
        events: { [type]: { event_timestamp: nowS } },
      })}`
      const signature = sign('sha256', Buffer.from(content), { key, dsaEncoding: 'ieee-p1363' })
      return `${content}.${signature.toString('base64url')}`
    },
  }
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
