import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto'
import { promisify } from 'node:util'
import { StartupError } from '../kernel/errors.js'
import { canonicalJson } from '../secevent/canonical-json.js'
import type { SetAlgorithm } from '../secevent/sign.js'

const makeKeyPair = promisify(generateKeyPair)
const RSA_BITS = 2048

/** A key pair, named by its public part. */
export interface KeyMaterial {
  readonly kid: string
  readonly alg: SetAlgorithm
  readonly publicJwk: JsonWebKey
  readonly privateKey: KeyObject
}

/** RS256 of 2048 bits, or ES256. */
export async function makeKeyMaterial(alg: SetAlgorithm): Promise<KeyMaterial> {
  const { privateKey } =
    alg === 'RS256'
      ? await makeKeyPair('rsa', { modulusLength: RSA_BITS })
      : await makeKeyPair('ec', { namedCurve: 'prime256v1' })
  return toMaterial(alg, privateKey)
}

/**
 * Reads a private key from PEM text: RSA of 2048 bits or more signs RS256, EC on P-256 signs ES256.
 * @throws StartupError naming the setting and the file
 */
export function readKeyMaterial(pem: string, file: string): KeyMaterial {
  const refuse = (what: string, cause?: unknown) =>
    new StartupError(
      `SIGNING_KEY_FILES: ${file} ${what}; write an RSA key of ${RSA_BITS} bits or more, or an EC key on P-256, as PKCS#8 PEM`,
      cause === undefined ? {} : { cause },
    )
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch (cause) {
    throw refuse('holds no private key that can be read without a passphrase', cause)
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = privateKey
  if (type === 'rsa') {
    if ((details?.modulusLength ?? 0) < RSA_BITS) throw refuse(`has ${details?.modulusLength} bits`)
    return toMaterial('RS256', privateKey)
  }
  if (type === 'ec' && details?.namedCurve === 'prime256v1') return toMaterial('ES256', privateKey)
  throw refuse(`is of another kind (${details?.namedCurve ?? type})`)
}

export function exportPrivate(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'pkcs8' })
}

function toMaterial(alg: SetAlgorithm, privateKey: KeyObject): KeyMaterial {
  const publicJwk = createPublicKey(privateKey).export({ format: 'jwk' })
  return { kid: thumbprint(publicJwk), alg, publicJwk, privateKey }
}

/** RFC 7638: the same key has the same name everywhere. */
function thumbprint(jwk: JsonWebKey): string {
  const { kty, n, e, crv, x, y } = jwk
  const members = kty === 'RSA' ? { kty, n, e } : { kty, crv, x, y }
  return createHash('sha256').update(canonicalJson(members)).digest('base64url')
}
