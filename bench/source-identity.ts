import { generateKeyPairSync, type JsonWebKey } from 'node:crypto'

/** The upstream transmitter that all SETs come from. */
export interface SourceIdentity {
  readonly issuer: string
  readonly audience: string
  readonly kid: string
  readonly privateJwk: JsonWebKey
  readonly publicJwk: JsonWebKey
}

export function createSourceIdentity(): SourceIdentity {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    issuer: 'https://idp.bench.example',
    audience: 'https://hub.bench.example',
    kid: 'bench-1',
    privateJwk: privateKey.export({ format: 'jwk' }),
    publicJwk: publicKey.export({ format: 'jwk' }),
  }
}
