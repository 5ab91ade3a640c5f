import { createHash, generateKeyPair, type JsonWebKey, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { canonicalJson } from '../secevent/canonical-json.js'
import type { SetAlgorithm } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { sqlRows } from '../storage/database.js'
import { type KeyRing, lockKeyCreation } from './key-ring.js'

const makeKeyPair = promisify(generateKeyPair)

/** What the hub starts with: SETs by either algorithm, and log records by a key that is used for nothing else. */
const FIRST_KEYS = [
  { use: 'set', alg: 'RS256' },
  { use: 'set', alg: 'ES256' },
  { use: 'log', alg: 'ES256' },
] as const

export interface SigningKeyRow {
  kid: string
  use: 'set' | 'log'
  alg: SetAlgorithm
  public_jwk: JsonWebKey
  private_wrapped: Buffer
  state: 'published' | 'active' | 'retiring' | 'retired'
}

/** The context under which a private key is sealed. */
export const signingKeyContext = (kid: string): string => `signing-key ${kid}`

/** Keys that sign or that receivers may still need, newest first. */
export async function readSigningKeys(db: Database): Promise<SigningKeyRow[]> {
  return await sqlRows<SigningKeyRow>(
    db,
    `select kid, use, alg, public_jwk, private_wrapped, state from signing_keys
     where state <> 'retired' order by created_at desc, kid`,
  )
}

/** Sole writer of `signing_keys`. Makes what is missing; of two processes that start together, one makes and both use it. */
export async function ensureSigningKeys(db: Database, ring: KeyRing): Promise<string[]> {
  return await db.transaction(async (trx) => {
    await lockKeyCreation(trx)
    const present = await readSigningKeys(trx)
    const created: string[] = []
    for (const wanted of FIRST_KEYS) {
      const exists = present.some(
        (row) => row.use === wanted.use && row.alg === wanted.alg && row.state === 'active',
      )
      if (!exists) created.push(await createSigningKey(trx, ring, wanted))
    }
    return created
  })
}

async function createSigningKey(
  trx: Database,
  ring: KeyRing,
  wanted: { use: 'set' | 'log'; alg: SetAlgorithm },
): Promise<string> {
  const { publicKey, privateKey } =
    wanted.alg === 'RS256'
      ? await makeKeyPair('rsa', { modulusLength: 2048 })
      : await makeKeyPair('ec', { namedCurve: 'prime256v1' })
  const jwk = publicKey.export({ format: 'jwk' })
  const kid = thumbprint(jwk)
  await trx('signing_keys').insert({
    kid,
    ...wanted,
    public_jwk: JSON.stringify({ ...jwk, kid, alg: wanted.alg, use: 'sig' }),
    private_wrapped: ring.seal(exportPrivate(privateKey), signingKeyContext(kid)),
    state: 'active',
  })
  return kid
}

function exportPrivate(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'pkcs8' })
}

/** RFC 7638: the same key has the same name everywhere. */
function thumbprint(jwk: JsonWebKey): string {
  const { kty, n, e, crv, x, y } = jwk
  const members = kty === 'RSA' ? { kty, n, e } : { kty, crv, x, y }
  return createHash('sha256').update(canonicalJson(members)).digest('base64url')
}
