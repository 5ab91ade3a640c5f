import { addAbortSignal, type Readable } from 'node:stream'
import { describeError } from '../kernel/errors.js'
import { copyIn } from '../storage/copy.js'
import { type Database, openPool, sqlRows, type Transaction } from '../storage/database.js'
import { fenceAllLeases } from '../storage/lease-repository.js'
import { knownMigrations, lockMigrations, migrateInside, requireServer } from '../storage/migrator.js'
import { ensureDayPartition } from '../storage/partitions.js'
import type { ArchiveEnd, ArchiveTable, Manifest } from './archive-manifest.js'
import { type ArchiveReader, openArchive } from './archive-reader.js'
import { ArchiveDamaged, ArchiveUnknown, TargetNotEmpty } from './backup-errors.js'
import type { Progress } from './backup-service.js'
import { listTables, quoted, quotedList, readTables } from './catalogue.js'

/** As the audit room has it. */
interface AuditTrail {
  record(
    trx: Database,
    entry: { actor: string; action: string; target?: string; detail?: object },
  ): Promise<void>
}

export interface RestoreOptions {
  readonly databaseUrl: string
  readonly input: Readable
  readonly signal: AbortSignal
  readonly audit: AuditTrail
  readonly migrationsDir?: string
  onProgress?(progress: Progress): void
}

export interface RestoreResult extends ArchiveEnd {
  readonly manifest: Manifest
  /** Migrations that the archive's database did not have yet. */
  readonly migrated: readonly string[]
}

/** In the audit log, read again by `log rewind`. */
export const RESTORED = 'backup.restored'

/**
 * Fills an empty database, in one transaction: whatever goes wrong, the database is empty as before. Hubs that start on it
 * meanwhile wait for the end.
 * @throws TargetNotEmpty, ArchiveUnknown, ArchiveDamaged
 */
export async function restoreBackup(options: RestoreOptions): Promise<RestoreResult> {
  const { databaseUrl, signal } = options
  const pool = openPool(databaseUrl, { name: 'restore', max: 1, statementTimeoutMs: 0, copies: true })
  try {
    await requireServer(pool)
    const result = await pool.transaction(async (trx) => {
      // Waits for a hub that is migrating, which is then found as tables.
      await lockMigrations(trx)
      await requireEmpty(trx)
      const archive = await openArchive(addAbortSignal(signal, options.input))
      await makeSchema(trx, archive.manifest, options)
      const end = await load(trx, archive, options)
      return {
        manifest: archive.manifest,
        ...end,
        migrated: await bringForward(trx, archive.manifest, options),
      }
    })
    // Without it the first queries would be planned as for empty tables.
    await pool.raw('analyze')
    return result
  } finally {
    options.input.destroy()
    await pool.destroy()
  }
}

async function requireEmpty(trx: Transaction): Promise<void> {
  const tables = await listTables(trx)
  if (tables.length === 0) return
  throw new TargetNotEmpty(
    `the database already holds ${tables.length} tables (${tables.slice(0, 3).join(', ')} …): restore into one without any, made with createdb; or stop the hub and move the folder of DATA_DIR away`,
  )
}

/** As the archive's database had it, but for rows that migrations put in. */
async function makeSchema(trx: Transaction, manifest: Manifest, options: RestoreOptions): Promise<void> {
  const known = await knownMigrations(options.migrationsDir)
  const unknown = manifest.migrations.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    throw new ArchiveUnknown(
      `the archive is of firebreak ${manifest.hub_version}, whose schema this one does not know (${unknown.join(', ')}): restore it with that release or a newer one`,
    )
  }
  await migrateInside(trx, { names: manifest.migrations, ...directoryOf(options) })
  for (const day of manifest.days) await ensureDayPartition(trx, day)
}

async function load(trx: Transaction, archive: ArchiveReader, options: RestoreOptions): Promise<ArchiveEnd> {
  const tables = await readTables(trx)
  const strange = archive.manifest.tables.find((table) => !isAmong(table, tables))
  if (strange) throw new ArchiveUnknown(`the archive has another ${strange.name} than this firebreak knows`)
  const names = tables.map(({ name }) => name)
  await trx.raw(`truncate ${quotedList(names)}`)
  // What triggers write stands in the archive already. Keys between tables are checked all the same.
  for (const name of names) await trx.raw(`alter table ${quoted(name)} disable trigger user`)
  const missing = new Set(archive.manifest.tables.map(({ name }) => name))
  let bytes = 0
  for (let part = await archive.nextTable(); part; part = await archive.nextTable()) {
    const { table, rows, end } = part
    if (!isAmong(table, archive.manifest.tables))
      throw new ArchiveDamaged(`the archive is damaged at ${table.name}`)
    if (!missing.delete(table.name)) throw new ArchiveDamaged(`the archive has ${table.name} twice`)
    const sql = `copy ${quoted(table.name)} (${quotedList(table.columns)}) from stdin`
    const counted = watch(rows, (count) => {
      bytes += count
      options.onProgress?.({ table: table.name, bytes })
    })
    const taken = await copyIn(trx, sql, counted).catch((error: unknown) => {
      throw explain(error, table.name)
    })
    if (taken !== end().rows) {
      throw new ArchiveDamaged(`${table.name} should have ${end().rows} rows, and has ${taken}`)
    }
  }
  if (missing.size > 0) throw new ArchiveDamaged(`the archive lacks ${[...missing].join(', ')}`)
  for (const name of names) await trx.raw(`alter table ${quoted(name)} enable trigger user`)
  for (const { name, value, called } of archive.manifest.sequences) {
    await sqlRows(trx, 'select setval(to_regclass(?), ?::bigint, ?)', [quoted(name), value, called === true])
  }
  return await archive.finish()
}

/** Rows reach the server before their sum is known: what it cannot read or relate to each other was changed on the way. */
function explain(error: unknown, table: string): unknown {
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string' || !/^2[23]...$/.test(code)) return error
  return new ArchiveDamaged(
    `the archive is damaged: PostgreSQL does not take its rows of ${table} (${describeError(error)})`,
    { cause: error },
  )
}

const isAmong = (table: ArchiveTable, tables: readonly ArchiveTable[]): boolean =>
  tables.some(({ name, columns }) => name === table.name && columns.join() === table.columns.join())

async function* watch(rows: AsyncIterable<Buffer>, onBytes: (count: number) => void): AsyncGenerator<Buffer> {
  for await (const piece of rows) {
    onBytes(piece.length)
    yield piece
  }
}

/** To the schema of this program, and so that nobody of the time of the archive is taken for alive. */
async function bringForward(
  trx: Transaction,
  manifest: Manifest,
  options: RestoreOptions,
): Promise<string[]> {
  const migrated = await migrateInside(trx, directoryOf(options))
  await fenceAllLeases(trx)
  await options.audit.record(trx, {
    actor: 'database access',
    action: RESTORED,
    detail: {
      made_at: manifest.made_at,
      hub_version: manifest.hub_version,
      log_positions: manifest.log_positions,
    },
  })
  return migrated
}

const directoryOf = ({ migrationsDir }: RestoreOptions) => (migrationsDir ? { directory: migrationsDir } : {})
