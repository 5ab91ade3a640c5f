import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { StartupError } from '../kernel/errors.js'
import type { Database } from '../storage/database.js'
import { sqlRows } from '../storage/database.js'
import { decrypt, deriveKey, encrypt, SealBroken } from './aead.js'

const KEY_BYTES = 32
const KEY_ID_BYTES = 4
/** First byte of everything sealed, so that the format can change. */
const FORMAT = 1
/** Serialises the making of keys between processes that start at the same moment. */
const CREATE_LOCK = 0x46426b79

interface KeyRingRow {
  key_id: string
  secret: Buffer
  check_value: Buffer
}

/** Seals and opens secrets at rest. Sealed: format (1 byte), key id (4), nonce (12), text, tag (16). */
export interface KeyRing {
  seal(plain: string | Buffer, context: string): Buffer
  /** @throws SealBroken */
  open(sealed: Buffer, context: string): Buffer
  /** False: who can read the database can read the keys. */
  readonly protectedByMasterKey: boolean
}

/** Only one process at a time makes keys; the others then find them. */
export async function lockKeyCreation(trx: Database): Promise<void> {
  await trx.raw('select pg_advisory_xact_lock(?)', [CREATE_LOCK])
}

export interface MasterKeys {
  /** 32 bytes. */
  readonly current?: Buffer
  /** The one before: a ring that it sealed is opened, and sealed under the current one. */
  readonly previous?: Buffer
  /** In the transaction that seals the ring under the current key. */
  resealed?(trx: Database, keyIds: string[]): Promise<void>
}

/**
 * Opens the ring, making its first key when there is none. A ring key is random; with a master key it is stored sealed
 * under it, so that a new master key touches this row alone and nothing that other rooms have sealed. Processes that
 * run have the ring open and notice nothing.
 * @throws StartupError when the master key is missing, malformed or not the one that sealed the ring
 */
export async function openKeyRing(db: Database, masters: MasterKeys): Promise<KeyRing> {
  const masterKey = masters.current
  if (masterKey && masterKey.length !== KEY_BYTES) {
    throw new StartupError('FIREBREAK_MASTER_KEY must be 32 bytes: make one with `openssl rand -base64 32`')
  }
  const keys = await db.transaction(async (trx) => {
    await lockKeyCreation(trx)
    const rows = await sqlRows<KeyRingRow>(
      trx,
      'select key_id, secret, check_value from key_ring order by created_at desc, key_id',
    )
    if (rows.length === 0) return [await createRingKey(trx, masterKey)]
    const opened = rows.map((row) => openRingKey(row, masters))
    const stale = masterKey ? opened.filter((key) => key.sealedBy !== 'current') : []
    for (const key of stale) await sealRingKey(trx, key, masterKey as Buffer)
    if (stale.length > 0) {
      await masters.resealed?.(
        trx,
        stale.map(({ id }) => id),
      )
    }
    return opened
  })
  return createRing(keys, masterKey !== undefined)
}

interface RingKey {
  id: string
  key: Buffer
}

interface OpenedRingKey extends RingKey {
  secret: Buffer
  sealedBy: 'current' | 'previous' | 'nothing'
}

async function createRingKey(trx: Database, masterKey: Buffer | undefined): Promise<RingKey> {
  const id = randomBytes(KEY_ID_BYTES).toString('hex')
  const secret = randomBytes(KEY_BYTES)
  await trx('key_ring').insert({
    key_id: id,
    secret: masterKey ? encrypt(masterKey, secret, ringContext(id)) : secret,
    check_value: checkValue(secret),
  })
  return { id, key: deriveKey(secret, 'seal') }
}

function openRingKey(row: KeyRingRow, masters: MasterKeys): OpenedRingKey {
  const isPlain = row.secret.length === KEY_BYTES
  if (!isPlain && !masters.current) {
    throw new StartupError(
      'the keys in the database are sealed: set FIREBREAK_MASTER_KEY to the key that sealed them',
    )
  }
  const { secret, sealedBy } = isPlain
    ? { secret: row.secret, sealedBy: 'nothing' as const }
    : unsealRingKey(row, masters)
  if (!timingSafeEqual(checkValue(secret), row.check_value)) throw wrongMasterKey(row.key_id)
  return { id: row.key_id, key: deriveKey(secret, 'seal'), secret, sealedBy }
}

function unsealRingKey(
  row: KeyRingRow,
  masters: MasterKeys,
): { secret: Buffer; sealedBy: 'current' | 'previous' } {
  for (const sealedBy of ['current', 'previous'] as const) {
    const master = masters[sealedBy]
    if (!master) continue
    try {
      return { secret: decrypt(master, row.secret, ringContext(row.key_id)), sealedBy }
    } catch (error) {
      if (!(error instanceof SealBroken)) throw error
    }
  }
  throw wrongMasterKey(row.key_id)
}

async function sealRingKey(trx: Database, { id, secret }: OpenedRingKey, masterKey: Buffer): Promise<void> {
  await trx('key_ring')
    .where({ key_id: id })
    .update({ secret: encrypt(masterKey, secret, ringContext(id)) })
}

function wrongMasterKey(keyId: string): StartupError {
  return new StartupError(
    `FIREBREAK_MASTER_KEY is not the key that sealed this database (ring key ${keyId}): set the right one, or use another database`,
  )
}

const ringContext = (keyId: string): string => `key-ring ${keyId}`

/** Tells a right secret from a wrong one without telling the secret. */
function checkValue(secret: Buffer): Buffer {
  return createHmac('sha256', secret).update('firebreak key check').digest()
}

function createRing(keys: RingKey[], protectedByMasterKey: boolean): KeyRing {
  const byId = new Map(keys.map(({ id, key }) => [id, key]))
  const active = keys[0] as RingKey
  const header = Buffer.concat([Buffer.from([FORMAT]), Buffer.from(active.id, 'hex')])
  return {
    protectedByMasterKey,
    seal: (plain, context) => Buffer.concat([header, encrypt(active.key, Buffer.from(plain), context)]),
    open(sealed, context) {
      const key = byId.get(sealed.subarray(1, 1 + KEY_ID_BYTES).toString('hex'))
      if (sealed[0] !== FORMAT || !key)
        throw new SealBroken('A stored secret was sealed by a key that is not in the ring.')
      return decrypt(key, sealed.subarray(1 + KEY_ID_BYTES), context)
    },
  }
}
