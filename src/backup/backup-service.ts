import { createHash } from 'node:crypto'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { describeError } from '../kernel/errors.js'
import { copyOut } from '../storage/copy.js'
import { type Database, openPool, sqlRows, type Transaction } from '../storage/database.js'
import { appliedMigrations, knownMigrations, tablesOfMigrations } from '../storage/migrator.js'
import { encodeFrame, type FrameKind, firstLine } from './archive-frames.js'
import type { ArchiveEnd, ArchiveTable, LanePosition, Manifest, TableEnd } from './archive-manifest.js'
import { NothingToBackUp, OutputFailed } from './backup-errors.js'
import { listTables, quoted, quotedList, readDays, readSequences, readTables } from './catalogue.js'

/** Where a backup or a restore is. */
export interface Progress {
  readonly table: string
  /** Of all rows until now, before compression. */
  readonly bytes: number
}

export interface BackupOptions {
  readonly databaseUrl: string
  readonly hubVersion: string
  readonly out: Writable
  readonly signal: AbortSignal
  /** How the ring keys stand in that database. */
  describeKeys(db: Database): Promise<Manifest['keys']>
  /** Where a Kafka log was read up to; asked before the snapshot is taken. */
  readonly logPositions?: (() => Promise<LanePosition[] | null>) | undefined
  onProgress?(progress: Progress): void
}

export interface BackupResult extends ArchiveEnd {
  readonly manifest: Manifest
  /** What a person should know of it. */
  readonly warnings: readonly string[]
}

/** Compression at which a core keeps up with a disk; higher levels save a tenth of the size for thrice the time. */
const GZIP_LEVEL = 3
/** A copy takes its time, whatever limits the server, the database or the user has. pg sends no limit of 0 by itself. */
export const NO_TIMEOUTS =
  'set local statement_timeout = 0; set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0'
/** As pg_dump: every value comes back as it was, whatever the server's own settings are. */
const SETTINGS = `${NO_TIMEOUTS}; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local extra_float_digits = 3;
  set local timezone = 'UTC'; set local row_security = off`

/**
 * Writes one consistent snapshot of the database, while hubs go on working on it. `out` is ended when all is written, and
 * destroyed when that failed.
 * @throws NothingToBackUp, and whatever stopped `out`
 */
export async function writeBackup(options: BackupOptions): Promise<BackupResult> {
  const warnings: string[] = []
  const pool = openPool(options.databaseUrl, { name: 'backup', max: 1, statementTimeoutMs: 0, copies: true })
  try {
    // Outside the transaction, whose first look would be its snapshot.
    const expected = await requireFirebreak(pool)
    const own = await ownTables(pool, { expected, warnings })
    const logPositions = await readPositions(pool, { ask: options.logPositions, warnings })
    const trx = await pool.transaction({ isolationLevel: 'repeatable read', readOnly: true })
    try {
      const manifest = await openSnapshot(trx, { ...options, expected, own, logPositions })
      const result = await writeArchive(trx, manifest, options)
      await trx.commit()
      return { ...result, warnings }
    } catch (error) {
      // Not waited for: what was cut off in the middle of a COPY has no connection any more.
      trx.rollback().catch(() => {})
      throw error
    }
  } finally {
    await pool.destroy()
  }
}

async function requireFirebreak(db: Database): Promise<string[]> {
  const tables = await listTables(db)
  if (tables.includes('audit_log') && tables.includes('schema_migrations')) return tables
  throw new NothingToBackUp(
    'this database holds nothing of firebreak: check DATABASE_URL, or DATA_DIR and the folder in which you call',
  )
}

/** A program that does not know the whole schema cannot tell what is not of it. */
async function ownTables(
  db: Database,
  { expected, warnings }: { expected: readonly string[]; warnings: string[] },
): Promise<readonly string[]> {
  const known = await knownMigrations()
  if (!(await appliedMigrations(db)).every((name) => known.includes(name))) return expected
  const tables = await tablesOfMigrations()
  const others = expected.filter((name) => !tables.has(name))
  if (others.length > 0) warnings.push(`not in it, because they are not firebreak's: ${others.join(', ')}`)
  return expected.filter((name) => tables.has(name))
}

/** A replica may be behind the positions: what lies between would be in neither. */
async function readPositions(
  db: Database,
  { ask, warnings }: { ask: BackupOptions['logPositions']; warnings: string[] },
): Promise<LanePosition[] | null> {
  if (!ask) return null
  const [server] = await sqlRows<{ replica: boolean }>(db, 'select pg_is_in_recovery() as replica')
  if (!server?.replica) return await ask()
  warnings.push(
    "Kafka's positions are not in it, because this database is a replica, which may be behind them: log rewind --from-backup will go back as far as it can",
  )
  return null
}

interface SnapshotOptions extends Pick<BackupOptions, 'hubVersion' | 'describeKeys'> {
  /** All tables that there are. */
  readonly expected: readonly string[]
  /** Those that are copied, or left out on purpose. */
  readonly own: readonly string[]
  readonly logPositions: LanePosition[] | null
}

/** Locks every table against a change of its shape, as pg_dump does, and only then looks: that is the snapshot. */
async function openSnapshot(trx: Transaction, options: SnapshotOptions): Promise<Manifest> {
  const { expected, own } = options
  await trx.raw(SETTINGS)
  await trx.raw(`lock table ${quotedList(own)} in access share mode`)
  if ((await listTables(trx)).join() !== expected.join()) {
    throw new NothingToBackUp('the schema was being changed: call it again when the migration is over')
  }
  const [facts] = await sqlRows<{ made_at: Date; postgres: string }>(
    trx,
    `select now() as made_at, current_setting('server_version') as postgres`,
  )
  const tables = await readTables(trx, own)
  return {
    hub_version: options.hubVersion,
    made_at: (facts?.made_at ?? new Date()).toISOString(),
    postgres: facts?.postgres ?? '',
    migrations: await appliedMigrations(trx),
    tables,
    sequences: await readSequences(trx, tables),
    days: await readDays(trx),
    keys: await options.describeKeys(trx),
    log_positions: options.logPositions,
  }
}

async function writeArchive(
  trx: Transaction,
  manifest: Manifest,
  { out, signal, onProgress }: BackupOptions,
): Promise<Omit<BackupResult, 'warnings'>> {
  const whole = createHash('sha256')
  const total = { rows: 0, bytes: 0 }
  /** Why the database gave no more. */
  let unread: Error | undefined
  let end: ArchiveEnd = { ...total, sha256: '' }

  const chained = (kind: FrameKind, content: object): Buffer => {
    const payload = Buffer.from(JSON.stringify(content))
    whole.update(payload)
    return encodeFrame({ kind, payload })
  }

  async function* table(each: ArchiveTable): AsyncGenerator<Buffer> {
    yield chained('table', each)
    const hash = createHash('sha256')
    let bytes = 0
    const source = await copyOut(
      trx,
      `copy (select ${quotedList(each.columns)} from ${quoted(each.name)}) to stdout`,
    ).catch((error: Error) => {
      unread = error
      throw error
    })
    source.data.once('error', (error) => {
      unread = error
    })
    for await (const piece of source.data as AsyncIterable<Buffer>) {
      hash.update(piece)
      bytes += piece.length
      onProgress?.({ table: each.name, bytes: total.bytes + bytes })
      yield encodeFrame({ kind: 'rows', payload: piece })
    }
    total.rows += source.rows()
    total.bytes += bytes
    const end: TableEnd = { rows: source.rows(), bytes, sha256: hash.digest('hex') }
    yield chained('tableEnd', end)
  }

  async function* frames(): AsyncGenerator<Buffer> {
    yield chained('manifest', manifest)
    for (const each of manifest.tables) yield* table(each)
    end = { ...total, sha256: whole.digest('hex') }
    yield encodeFrame({ kind: 'end', payload: Buffer.from(JSON.stringify(end)) })
  }

  async function* archive(packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    yield firstLine()
    yield* packed
  }
  let unwritten: unknown
  out.once('error', (error) => {
    unwritten = error
  })
  try {
    await pipeline(Readable.from(frames()), createGzip({ level: GZIP_LEVEL }), archive, out, { signal })
  } catch (error) {
    if (!unread && !signal.aborted && error === unwritten) throw explainWriting(error)
    throw unread ?? error
  }
  return { manifest, ...end }
}

function explainWriting(cause: unknown): OutputFailed {
  const isFull = (cause as NodeJS.ErrnoException).code === 'ENOSPC'
  const reason = isFull ? 'no space is left there' : describeError(cause)
  return new OutputFailed(`writing the archive failed (${reason}); there is no backup`, { cause })
}
