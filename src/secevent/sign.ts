import { type KeyObject, sign as signAsync } from 'node:crypto'
import { StartupError } from '../kernel/errors.js'

export type SetAlgorithm = 'RS256' | 'ES256'

/** Signs SETs with one key. */
export interface SetSigner {
  readonly kid: string
  readonly alg: SetAlgorithm
  /** The compact JWS of these claims, `typ` secevent+jwt (SSF 1.0 §4.1.1). */
  sign(claims: object): Promise<string>
}

/**
 * node:crypto on its thread pool: awaited one by one, jose takes four times as long as an ES256 signature itself.
 * Several calls at once spread over the cores. Throws StartupError when the key does not fit the algorithm.
 */
export function createSetSigner(key: { kid: string; alg: SetAlgorithm; privateKey: KeyObject }): SetSigner {
  assertKeyFits(key)
  const header = Buffer.from(JSON.stringify({ alg: key.alg, typ: 'secevent+jwt', kid: key.kid })).toString(
    'base64url',
  )
  // JWS wants r and s side by side (RFC 7518 §3.4), not the DER that node:crypto makes by default. RSA has no choice.
  const input = { key: key.privateKey, dsaEncoding: 'ieee-p1363' } as const
  return {
    kid: key.kid,
    alg: key.alg,
    sign(claims) {
      const content = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`
      return new Promise((resolve, reject) => {
        signAsync('sha256', Buffer.from(content), input, (error, signature) => {
          if (error) reject(error)
          else resolve(`${content}.${signature.toString('base64url')}`)
        })
      })
    },
  }
}

function assertKeyFits(key: { kid: string; alg: SetAlgorithm; privateKey: KeyObject }): void {
  const { type, asymmetricKeyType, asymmetricKeyDetails } = key.privateKey
  const fits =
    key.alg === 'RS256'
      ? asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048
      : asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1'
  if (type !== 'private' || !fits) {
    throw new StartupError(
      `Signing key ${key.kid} does not fit ${key.alg}: give it an RSA key of 2048 bits or more, or a P-256 key.`,
    )
  }
}
