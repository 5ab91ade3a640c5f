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
import { NO_TIMEOUTS, type Progress } from './backup-service.js'
import { listTables, quoted, quotedList, readSequences, readTables } from './catalogue.js'

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
  /** What a person should know of it. */
  readonly warnings: readonly string[]
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
    const warnings: string[] = []
    const result = await pool.transaction(async (trx) => {
      await trx.raw(NO_TIMEOUTS)
      // Waits for a hub that is migrating, which is then found as tables.
      await lockMigrations(trx)
      await requireEmpty(trx)
      const archive = await openArchive(addAbortSignal(signal, options.input))
      await makeSchema(trx, archive.manifest, options)
      const end = await load(trx, archive, { ...options, warnings })
      return {
        manifest: archive.manifest,
        ...end,
        migrated: await bringForward(trx, archive.manifest, options),
      }
    })
    // Without it the first queries would be planned as for empty tables.
    await pool
      .raw(`begin; ${NO_TIMEOUTS}; analyze; commit`)
      .catch((error: unknown) =>
        warnings.push(
          `all is restored, but ANALYZE failed (${describeError(error)}): call it by hand, or the first queries are slow`,
        ),
      )
    return { ...result, warnings }
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

interface LoadOptions extends RestoreOptions {
  readonly warnings: string[]
}

async function load(trx: Transaction, archive: ArchiveReader, options: LoadOptions): Promise<ArchiveEnd> {
  const tables = await readTables(trx)
  const strangers = requireSameTables(tables, archive.manifest)
  const names = tables.map(({ name }) => name)
  await trx.raw(`truncate ${quotedList(names)}`)
  // What triggers write stands in the archive already. Keys between tables are checked all the same.
  for (const name of names) await trx.raw(`alter table ${quoted(name)} disable trigger user`)
  // Its rows are read as they come; then the column goes with what it says.
  for (const { table, column } of strangers.columns)
    await trx.raw(`alter table ${quoted(table)} add column ${quoted(column)} text`)
  await loadTables(trx, archive, { ...options, leaveOut: strangers.tables })
  for (const { table, column } of strangers.columns)
    await trx.raw(`alter table ${quoted(table)} drop column ${quoted(column)}`)
  for (const name of names) await trx.raw(`alter table ${quoted(name)} enable trigger user`)
  const sequences = await loadSequences(trx, tables, archive.manifest)
  const leftOut = [
    ...strangers.tables.map((name) => `table ${name}`),
    ...strangers.columns.map(({ table, column }) => `column ${table}.${column}`),
    ...sequences.map((name) => `sequence ${name}`),
  ]
  if (leftOut.length > 0)
    options.warnings.push(`left out, because this firebreak does not know it: ${leftOut.join(', ')}`)
  return await archive.finish()
}

interface Strangers {
  readonly tables: string[]
  readonly columns: { readonly table: string; readonly column: string }[]
}

/** @throws ArchiveUnknown when the archive lacks a table or a column @returns what it has beyond them */
function requireSameTables(tables: readonly ArchiveTable[], manifest: Manifest): Strangers {
  for (const { name, columns } of tables) {
    const there = manifest.tables.find((each) => each.name === name)
    if (!there) throw new ArchiveUnknown(`the archive has no table ${name}`)
    const lacks = columns.filter((column) => !there.columns.includes(column))
    if (lacks.length > 0) {
      throw new ArchiveUnknown(
        `the archive has another ${name} than this firebreak knows: without ${lacks.join(', ')}`,
      )
    }
  }
  const own = new Map(tables.map(({ name, columns }) => [name, columns]))
  return {
    tables: manifest.tables.map(({ name }) => name).filter((name) => !own.has(name)),
    columns: manifest.tables.flatMap(({ name, columns }) => {
      const known = own.get(name) ?? columns
      return columns.filter((column) => !known.includes(column)).map((column) => ({ table: name, column }))
    }),
  }
}

async function loadTables(
  trx: Transaction,
  archive: ArchiveReader,
  { leaveOut, onProgress }: LoadOptions & { leaveOut: readonly string[] },
): Promise<void> {
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
      onProgress?.({ table: table.name, bytes })
    })
    if (leaveOut.includes(table.name)) {
      for await (const _ of counted);
      continue
    }
    const taken = await copyIn(trx, sql, counted).catch((error: unknown) => {
      throw explain(error, `its rows of ${table.name}`)
    })
    if (taken !== end().rows) {
      throw new ArchiveDamaged(`${table.name} should have ${end().rows} rows, and has ${taken}`)
    }
  }
  if (missing.size > 0) throw new ArchiveDamaged(`the archive lacks ${[...missing].join(', ')}`)
}

/** @returns those of the archive that are of no table here */
async function loadSequences(
  trx: Transaction,
  tables: readonly ArchiveTable[],
  { sequences }: Manifest,
): Promise<string[]> {
  const own = (await readSequences(trx, tables)).map(({ name }) => name)
  const lacks = own.filter((name) => !sequences.some((each) => each.name === name))
  if (lacks.length > 0) throw new ArchiveDamaged(`the archive lacks the sequence ${lacks.join(', ')}`)
  for (const { name, value, called } of sequences.filter((each) => own.includes(each.name))) {
    await sqlRows(trx, 'select setval(to_regclass(?), ?::bigint, ?)', [quoted(name), value, called]).catch(
      (error: unknown) => {
        throw explain(error, `its sequence ${name}`)
      },
    )
  }
  return sequences.map(({ name }) => name).filter((name) => !own.includes(name))
}

/** Rows reach the server before their sum is known: what it cannot read or relate to each other was changed on the way. */
function explain(error: unknown, what: string): unknown {
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string' || !/^2[23]...$/.test(code)) return error
  return new ArchiveDamaged(
    `the archive is damaged: PostgreSQL does not take ${what} (${describeError(error)})`,
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
