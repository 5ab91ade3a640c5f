import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../kernel/clock.js'
import { Conflict, StartupError } from '../kernel/errors.js'
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
  created_at: Date
  active_from: Date
}

const COLUMNS = 'key_id, secret, check_value, created_at, active_from'

/** What a person sees of a ring key. */
export interface RingKeyTimes {
  readonly id: string
  readonly createdAt: Date
  /** From then on what is sealed is sealed by it, by the database's clock. */
  readonly activeFrom: Date
}

/**
 * Seals and opens secrets at rest. Sealed: format (1 byte), key id (4), nonce (12), text, tag (16). Keys stay in the
 * ring for good, so what an older one sealed is opened as long as it is there.
 */
export interface KeyRing {
  seal(plain: string | Buffer, context: string): Buffer
  /** @throws SealBroken */
  open(sealed: Buffer, context: string): Buffer
  /** Whether it was sealed by the key that seals now, or by one that cannot be opened here: not for us to seal again. */
  isCurrent(sealed: Buffer): boolean
  /**
   * Another key, which every process has read before it seals; in the caller's transaction.
   * @throws Conflict when some key of the ring is not sealed as this process seals them
   */
  addKey(trx: Database, leadMs: number): Promise<RingKeyTimes>
  /** The last to come into force first. */
  keys(): readonly RingKeyTimes[]
  /** Takes in keys that other processes added, but for those sealed by a master key not known here. */
  refresh(): Promise<void>
  /** Ids of the keys that the last reading could not open. */
  unreadable(): readonly string[]
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
export async function openKeyRing(
  db: Database,
  masters: MasterKeys,
  clock: Pick<Clock, 'now'>,
): Promise<KeyRing> {
  const masterKey = masters.current
  if (masterKey && masterKey.length !== KEY_BYTES) {
    throw new StartupError('FIREBREAK_MASTER_KEY must be 32 bytes: make one with `openssl rand -base64 32`')
  }
  const keys = await db.transaction(async (trx) => {
    await lockKeyCreation(trx)
    const rows = await readRows(trx)
    if (rows.length === 0) return [await createRingKey(trx, masterKey, 0)]
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
  return createRing(keys, { db, masters, clock })
}

/** How the ring stands in that database: plain as soon as one key is, for it opens what it has sealed. */
export async function describeRing(db: Database): Promise<'sealed' | 'plain' | 'none'> {
  const rows = await sqlRows<{ plain: boolean }>(db, 'select length(secret) = ? as plain from key_ring', [
    KEY_BYTES,
  ])
  if (rows.length === 0) return 'none'
  return rows.some(({ plain }) => plain) ? 'plain' : 'sealed'
}

interface RingKey extends RingKeyTimes {
  readonly key: Buffer
}

interface OpenedRingKey extends RingKey {
  secret: Buffer
  sealedBy: 'current' | 'previous' | 'nothing'
}

const readRows = (db: Database): Promise<KeyRingRow[]> =>
  sqlRows<KeyRingRow>(db, `select ${COLUMNS} from key_ring order by active_from desc, key_id`)

async function createRingKey(trx: Database, masterKey: Buffer | undefined, leadMs: number): Promise<RingKey> {
  const id = randomBytes(KEY_ID_BYTES).toString('hex')
  const secret = randomBytes(KEY_BYTES)
  const [row] = await sqlRows<KeyRingRow>(
    trx,
    `insert into key_ring (key_id, secret, check_value, active_from)
     values (?, ?, ?, clock_timestamp() + make_interval(secs => ?)) returning ${COLUMNS}`,
    [id, masterKey ? encrypt(masterKey, secret, ringContext(id)) : secret, checkValue(secret), leadMs / 1000],
  )
  return { ...timesOf(row as KeyRingRow), key: deriveKey(secret, 'seal') }
}

const timesOf = (row: KeyRingRow): RingKeyTimes => ({
  id: row.key_id,
  createdAt: row.created_at,
  activeFrom: row.active_from,
})

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
  return { ...timesOf(row), key: deriveKey(secret, 'seal'), secret, sealedBy }
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

function tryOpen(row: KeyRingRow, masters: MasterKeys): OpenedRingKey | undefined {
  try {
    return openRingKey(row, masters)
  } catch (error) {
    if (error instanceof StartupError) return undefined
    throw error
  }
}

/** Two master keys in one ring would keep out the next process to start, whichever it has. */
async function checkSealing(trx: Database, masters: MasterKeys): Promise<void> {
  const expected = masters.current ? 'current' : 'nothing'
  for (const row of await readRows(trx)) {
    if (tryOpen(row, masters)?.sealedBy === expected) continue
    throw new Conflict(
      `The ring key ${row.key_id} is sealed by another master key than this process has: restart the hub with the new one first.`,
    )
  }
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

function createRing(
  found: readonly RingKey[],
  { db, masters, clock }: { db: Database; masters: MasterKeys; clock: Pick<Clock, 'now'> },
): KeyRing {
  const byId = new Map(found.map((key) => [key.id, key]))
  let newestFirst = sorted()
  let unreadable: string[] = []

  function sorted(): RingKey[] {
    return [...byId.values()].sort((a, b) => b.activeFrom.getTime() - a.activeFrom.getTime())
  }

  /** The clock may be a little behind the one that made the first key. */
  function current(): RingKey {
    const nowMs = clock.now()
    const due = newestFirst.find((key) => key.activeFrom.getTime() <= nowMs)
    return due ?? (newestFirst.at(-1) as RingKey)
  }

  const idOf = (sealed: Buffer): string => sealed.subarray(1, 1 + KEY_ID_BYTES).toString('hex')

  return {
    protectedByMasterKey: masters.current !== undefined,
    seal(plain, context) {
      const { id, key } = current()
      const header = Buffer.from([FORMAT, ...Buffer.from(id, 'hex')])
      return Buffer.concat([header, encrypt(key, Buffer.from(plain), context)])
    },
    open(sealed, context) {
      const ringKey = byId.get(idOf(sealed))
      if (sealed[0] !== FORMAT || !ringKey)
        throw new SealBroken('A stored secret was sealed by a key that is not in the ring.')
      return decrypt(ringKey.key, sealed.subarray(1 + KEY_ID_BYTES), context)
    },
    isCurrent: (sealed) => [current().id, ...unreadable].includes(idOf(sealed)),
    async addKey(trx, leadMs) {
      await checkSealing(trx, masters)
      return await createRingKey(trx, masters.current, leadMs)
    },
    keys: () => newestFirst,
    async refresh() {
      const failed: string[] = []
      for (const row of await readRows(db)) {
        if (byId.has(row.key_id)) continue
        const key = tryOpen(row, masters)
        if (key) byId.set(key.id, key)
        else failed.push(row.key_id)
      }
      unreadable = failed
      newestFirst = sorted()
    },
    unreadable: () => unreadable,
  }
}
