import { KeyObject, type webcrypto } from 'node:crypto'
import { SetRejected } from './parse-set.js'
import type { Tolerated } from './tolerances.js'
import type { SetTolerances } from './verify-set.js'

type CryptoKey = webcrypto.CryptoKey

/** What each algorithm needs of its key. Symmetric ones and `none` are not in the table, so nothing can allow them. */
const ALGORITHMS: Readonly<Record<string, { keyTypes: readonly string[]; curve?: string }>> = {
  RS256: { keyTypes: ['rsa'] },
  RS384: { keyTypes: ['rsa'] },
  RS512: { keyTypes: ['rsa'] },
  PS256: { keyTypes: ['rsa', 'rsa-pss'] },
  PS384: { keyTypes: ['rsa', 'rsa-pss'] },
  PS512: { keyTypes: ['rsa', 'rsa-pss'] },
  ES256: { keyTypes: ['ec'], curve: 'prime256v1' },
  ES384: { keyTypes: ['ec'], curve: 'secp384r1' },
  ES512: { keyTypes: ['ec'], curve: 'secp521r1' },
  EdDSA: { keyTypes: ['ed25519'] },
  Ed25519: { keyTypes: ['ed25519'] },
}

/** Algorithms an upstream transmitter may be registered with. */
export const SET_ALGORITHMS: readonly string[] = Object.keys(ALGORITHMS)

const MIN_RSA_BITS = 2048
const MAX_KID_LENGTH = 512

/** Header members that offer a key. They are never looked at: keys come from the pinned issuer alone (SSF 1.0 §4.1.4). */
const KEY_OFFERS = ['jku', 'jwk', 'x5u', 'x5c']

export interface CheckedHeader {
  readonly alg: string
  readonly kid?: string
  /** Key offers that were there and ignored. */
  readonly ignored: readonly string[]
}

/** Checks of the JOSE header before any key is looked up (SSF 1.0 §4.1.1, RFC 8725 §3). */
export function checkHeader(
  header: Readonly<Record<string, unknown>>,
  algorithms: readonly string[],
  tolerances: SetTolerances,
  tolerated: Set<Tolerated>,
): CheckedHeader {
  checkType(header, tolerances, tolerated)
  // Extensions change what is signed or how to read it (b64), and this hub understands none.
  for (const member of ['crit', 'b64', 'zip']) {
    if (header[member] !== undefined) {
      throw new SetRejected('invalid_request', `The SET header must not have "${member}".`)
    }
  }
  const { alg, kid } = header
  if (typeof alg !== 'string' || !algorithms.includes(alg) || !Object.hasOwn(ALGORITHMS, alg)) {
    throw new SetRejected('invalid_key', `The SET must be signed with ${algorithms.join(' or ')}.`)
  }
  const ignored = KEY_OFFERS.filter((member) => header[member] !== undefined)
  if (kid === undefined) {
    if (!tolerances.allowMissingKid) {
      throw new SetRejected('invalid_key', 'The SET header must name its key in "kid".')
    }
    tolerated.add('allow_missing_kid')
    return { alg, ignored }
  }
  if (typeof kid !== 'string' || kid === '' || kid.length > MAX_KID_LENGTH) {
    throw new SetRejected('invalid_key', `"kid" must be a string of 1 to ${MAX_KID_LENGTH} characters.`)
  }
  return { alg, kid, ignored }
}

/** RFC 7515 §4.1.9: a media type, compared without case; `application/` may be left out. */
function checkType(
  header: Readonly<Record<string, unknown>>,
  tolerances: SetTolerances,
  tolerated: Set<Tolerated>,
): void {
  const { typ } = header
  const type = typeof typ === 'string' ? typ.toLowerCase() : undefined
  if (type === 'secevent+jwt' || type === 'application/secevent+jwt') return
  const plain = typ === undefined || type === 'jwt'
  if (plain && tolerances.allowPlainTyp) {
    tolerated.add('allow_plain_typ')
    return
  }
  throw new SetRejected('invalid_request', 'The SET header must have "typ": "secevent+jwt".')
}

/** The key as found fits the algorithm and is strong enough (RFC 7518 §3.3 to §3.5). */
export function checkKey(key: CryptoKey | KeyObject, alg: string): void {
  const object = key instanceof KeyObject ? key : KeyObject.from(key)
  const wanted = ALGORITHMS[alg]
  if (object.type !== 'public' || !wanted?.keyTypes.includes(object.asymmetricKeyType ?? '')) {
    throw new SetRejected('invalid_key', `The issuer's key of this "kid" is not a public key for ${alg}.`)
  }
  const details = object.asymmetricKeyDetails
  if (wanted.curve && details?.namedCurve !== wanted.curve) {
    throw new SetRejected('invalid_key', `The issuer's key of this "kid" is on the wrong curve for ${alg}.`)
  }
  if (wanted.keyTypes.includes('rsa') && (details?.modulusLength ?? 0) < MIN_RSA_BITS) {
    throw new SetRejected('invalid_key', `The issuer's key must have at least ${MIN_RSA_BITS} bits.`)
  }
}
