import type { JsonWebKey } from 'node:crypto'
import type { SetAlgorithm } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { sqlRows } from '../storage/database.js'
import { exportPrivate, type KeyMaterial, makeKeyMaterial } from './key-material.js'
import { type KeyRing, lockKeyCreation } from './key-ring.js'
import { activeKey, type KeyUse, type SigningKey } from './signing-key.js'

/** What the hub starts with: SETs by either algorithm, and log records by a key that is used for nothing else. */
const FIRST_KEYS = [
  { use: 'set', alg: 'RS256' },
  { use: 'set', alg: 'ES256' },
  { use: 'log', alg: 'ES256' },
] as const

interface SigningKeyRow {
  kid: string
  use: KeyUse
  alg: SetAlgorithm
  public_jwk: JsonWebKey
  private_wrapped: Buffer
  origin: 'generated' | 'file'
  created_at: Date
  active_from: Date
  retired_at: Date | null
}

const COLUMNS = 'kid, use, alg, public_jwk, private_wrapped, origin, created_at, active_from, retired_at'

/** The context under which a private key is sealed. */
export const signingKeyContext = (kid: string): string => `signing-key ${kid}`

/** All keys, the last to come into force first; without the retired ones unless asked. */
export async function readSigningKeys(db: Database, retiredToo = false): Promise<SigningKey[]> {
  const rows = await sqlRows<SigningKeyRow>(
    db,
    `select ${COLUMNS} from signing_keys ${retiredToo ? '' : 'where retired_at is null'}
     order by active_from desc, kid`,
  )
  return rows.map(toSigningKey)
}

/**
 * Sole writer of `signing_keys`. Makes what is missing; of two processes that start together, one makes and both use it.
 * @param given keys from files, taken in place of generated ones
 */
export async function ensureSigningKeys(
  db: Database,
  ring: Pick<KeyRing, 'seal'>,
  given: readonly KeyMaterial[] = [],
): Promise<string[]> {
  return await db.transaction(async (trx) => {
    await lockKeyCreation(trx)
    const present = await readSigningKeys(trx)
    const nowMs = await databaseNowMs(trx)
    const created: string[] = []
    for (const wanted of FIRST_KEYS) {
      if (activeKey(present, wanted, nowMs)) continue
      const file = wanted.use === 'set' ? given.find(({ alg }) => alg === wanted.alg) : undefined
      const material = file ?? (await makeKeyMaterial(wanted.alg))
      const origin = file ? 'file' : 'generated'
      const key = await insertSigningKey(trx, ring, { material, use: wanted.use, origin, leadMs: 0 })
      created.push(key.kid)
    }
    return created
  })
}

export interface NewSigningKey {
  readonly material: KeyMaterial
  readonly use: KeyUse
  readonly origin: 'generated' | 'file'
  /** Published this long before it signs. */
  readonly leadMs: number
}

export async function insertSigningKey(
  trx: Database,
  ring: Pick<KeyRing, 'seal'>,
  { material, use, origin, leadMs }: NewSigningKey,
): Promise<SigningKey> {
  const { kid, alg, publicJwk, privateKey } = material
  const [row] = await sqlRows<SigningKeyRow>(
    trx,
    `insert into signing_keys (kid, use, alg, public_jwk, private_wrapped, origin, active_from)
     values (?, ?, ?, ?, ?, ?, clock_timestamp() + make_interval(secs => ?)) returning ${COLUMNS}`,
    [
      kid,
      use,
      alg,
      JSON.stringify({ ...publicJwk, kid, alg, use: 'sig' }),
      ring.seal(exportPrivate(privateKey), signingKeyContext(kid)),
      origin,
      leadMs / 1000,
    ],
  )
  return toSigningKey(row as SigningKeyRow)
}

/** Seals private keys again that an older key of the ring sealed. @returns how many */
export async function resealSigningKeys(trx: Database, ring: KeyRing): Promise<number> {
  const stale = (await readSigningKeys(trx)).filter(({ sealedPrivate }) => !ring.isCurrent(sealedPrivate))
  for (const { kid, sealedPrivate } of stale) {
    const context = signingKeyContext(kid)
    // An erased key must not come back.
    await trx('signing_keys')
      .where({ kid, private_wrapped: sealedPrivate })
      .update({ private_wrapped: ring.seal(ring.open(sealedPrivate, context), context) })
  }
  return stale.length
}

/** Lets a key that waits come into force after `leadMs` already. @returns when it does */
export async function hastenSigningKey(trx: Database, kid: string, leadMs: number): Promise<Date> {
  const [row] = await sqlRows<{ active_from: Date }>(
    trx,
    `update signing_keys set active_from = clock_timestamp() + make_interval(secs => ?) where kid = ?
     returning active_from`,
    [leadMs / 1000, kid],
  )
  return (row as { active_from: Date }).active_from
}

/** For good: its private part is erased. */
export async function retireSigningKey(trx: Database, kid: string): Promise<void> {
  await trx('signing_keys')
    .where({ kid })
    .update({ retired_at: trx.fn.now(), private_wrapped: Buffer.alloc(0) })
}

export async function databaseNowMs(db: Database): Promise<number> {
  const [row] = await sqlRows<{ ms: number }>(
    db,
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 ms',
  )
  return row?.ms ?? 0
}

function toSigningKey(row: SigningKeyRow): SigningKey {
  return {
    kid: row.kid,
    use: row.use,
    alg: row.alg,
    publicJwk: row.public_jwk,
    sealedPrivate: row.private_wrapped,
    origin: row.origin,
    createdAt: row.created_at,
    activeFrom: row.active_from,
    retiredAt: row.retired_at,
  }
}
