import { createLocalJWKSet, errors, type JWK } from 'jose'
import { HubError } from '../kernel/errors.js'
import { isJsonObject } from './canonical-json.js'
import { SetRejected } from './parse-set.js'
import { checkKey, SET_ALGORITHMS } from './set-header.js'
import type { KeySource } from './verify-set.js'

const MAX_KEYS = 256

/** What an issuer serves, or an operator gave, is no JWK Set. */
export class InvalidJwkSet extends HubError {
  readonly code = 'ERR_INVALID_JWK_SET'
  readonly status = 400
}

export interface JwkSet extends KeySource {
  has(kid: string): boolean
}

/**
 * The keys of one issuer, each imported once (importing per token costs 1.5 times the verification). A key with
 * another `use`, `alg`, type or curve is no match, nor are two keys under one `kid`: it would be anybody's guess
 * which one the issuer meant. Keys jose cannot read (other algorithms, private ones) are passed over, not an error.
 * Throws InvalidJwkSet.
 * @param now ms since the epoch; a key past its `exp`, or `revoked` (OpenID Federation §8.7), is no match
 */
export function createJwkSet(value: unknown, now: () => number): JwkSet {
  let keys = keysOf(value).filter(isUsable)
  let set = createLocalJWKSet({ keys })
  return {
    has: (kid) => keys.some((key) => key.kid === kid),
    async find(header) {
      const fresh = keys.filter((key) => !(typeof key.exp === 'number' && key.exp * 1000 <= now()))
      if (fresh.length < keys.length) {
        keys = fresh
        set = createLocalJWKSet({ keys })
      }
      try {
        return await set(header)
      } catch (error) {
        // No match, several, or a key that cannot be imported: to the sender all the same.
        if (
          error instanceof errors.JOSEError ||
          error instanceof TypeError ||
          error instanceof DOMException
        ) {
          return undefined
        }
        throw error
      }
    },
  }
}

/**
 * Whether any of the keys can verify SETs: a set that an operator gives by hand is refused at once, not at its first
 * SET. Throws InvalidJwkSet.
 */
export async function canVerify(value: unknown, now: () => number): Promise<boolean> {
  for (const key of keysOf(value)) {
    // Alone, so that any kid will do, and the set's own rules decide what is a match.
    const alone = createJwkSet({ keys: [key] }, now)
    for (const alg of SET_ALGORITHMS) if (await isFound(alone, alg)) return true
  }
  return false
}

async function isFound(keys: KeySource, alg: string): Promise<boolean> {
  try {
    const key = await keys.find({ alg })
    if (key) checkKey(key, alg)
    return key !== undefined
  } catch (error) {
    if (error instanceof SetRejected) return false
    throw error
  }
}

function keysOf(value: unknown): unknown[] {
  const list = isJsonObject(value) ? value.keys : undefined
  if (!Array.isArray(list)) throw new InvalidJwkSet('A JWK Set must be an object with a "keys" array.')
  if (list.length > MAX_KEYS) throw new InvalidJwkSet(`A JWK Set may hold at most ${MAX_KEYS} keys.`)
  return list
}

type PublicJwk = JWK & { exp?: unknown }

function isUsable(key: unknown): key is PublicJwk {
  // `d` is a private key, `k` a secret: whoever publishes one has given it to everybody.
  return isJsonObject(key) && key.revoked === undefined && key.d === undefined && key.kty !== 'oct'
}
