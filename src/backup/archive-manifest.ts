import { ArchiveDamaged, ArchiveUnknown } from './backup-errors.js'

/** Of the first line. A reader knows this one and older ones. */
export const ARCHIVE_FORMAT = 1
export const MAGIC = 'firebreak backup '

/** Where one lane of a Kafka log was read up to: offset of the next record, by partition. */
export interface LanePosition {
  readonly lane: string
  readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
}

export interface ArchiveTable {
  readonly name: string
  readonly columns: readonly string[]
}

/** What the archive says of itself, in front. Wire names. */
export interface Manifest {
  readonly hub_version: string
  /** Time of the snapshot, by the clock of the database. */
  readonly made_at: string
  readonly postgres: string
  /** Every migration that the database had. */
  readonly migrations: readonly string[]
  /** In the order in which they can be filled. */
  readonly tables: readonly ArchiveTable[]
  readonly sequences: readonly { readonly name: string; readonly value: string; readonly called: boolean }[]
  /** Days that have partitions, as 2026-01-31. */
  readonly days: readonly string[]
  /** How the ring keys stand in the archive: sealed under a master key that is not in it, plain, or there are none. */
  readonly keys: 'sealed' | 'plain' | 'none'
  /** Every record before these positions is in the snapshot. Null without Kafka, or when it did not answer. */
  readonly log_positions: readonly LanePosition[] | null
}

export interface TableEnd {
  readonly rows: number
  readonly bytes: number
  /** Of the table's rows, hex. */
  readonly sha256: string
}

export interface ArchiveEnd {
  readonly rows: number
  readonly bytes: number
  /** Of the manifest and every table's begin and end, hex. */
  readonly sha256: string
}

/** @throws ArchiveDamaged */
function parseJson<T>(payload: Buffer): T {
  try {
    return JSON.parse(payload.toString('utf8')) as T
  } catch (cause) {
    throw new ArchiveDamaged('the archive is damaged: a part of it cannot be read', { cause })
  }
}

/** Printable: what an archive says of itself is shown to people. */
const isText = (value: unknown): value is string => typeof value === 'string' && !/\p{Cc}/u.test(value)
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isDigits = (value: unknown): value is string => typeof value === 'string' && /^\d{1,19}$/.test(value)
const isTexts = (value: unknown): value is string[] => isListOf(value, isText)
const isTable = (value: unknown): value is ArchiveTable =>
  isObject(value) && isText(value.name) && isTexts(value.columns) && areDistinct(value.columns)
const isSequence = (value: unknown): boolean =>
  isObject(value) && isText(value.name) && isDigits(value.value) && typeof value.called === 'boolean'
const isLane = (value: unknown): boolean =>
  isObject(value) &&
  isText(value.lane) &&
  isListOf(value.partitions, (each) => isObject(each) && isCount(each.partition) && isDigits(each.offset))

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isListOf(value: unknown, isOne: (each: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isOne)
}

const areDistinct = (names: readonly string[]): boolean => new Set(names).size === names.length

const DAMAGED = 'the archive is damaged: a part of it says what no part may say'

/** @throws ArchiveDamaged */
export function parseTable(payload: Buffer): ArchiveTable {
  const found = parseJson<unknown>(payload)
  if (!isTable(found)) throw new ArchiveDamaged(DAMAGED)
  return found
}

/** Of a table or of the whole. @throws ArchiveDamaged */
export function parseEnd(payload: Buffer): TableEnd & ArchiveEnd {
  const found = parseJson<Partial<TableEnd> | null>(payload)
  if (!isObject(found) || !isCount(found.rows) || !isCount(found.bytes) || !isText(found.sha256))
    throw new ArchiveDamaged(DAMAGED)
  return found as unknown as TableEnd
}

/**
 * Only the shape: who can write archives can write rows, but not SQL.
 * @throws ArchiveUnknown, and ArchiveDamaged when what it has in common with all manifests cannot be
 */
export function parseManifest(payload: Buffer): Manifest {
  const found = parseJson<Partial<Manifest> | null>(payload)
  if (!isObject(found) || !Array.isArray(found.tables) || found.tables.length === 0)
    throw new ArchiveUnknown('this is an archive that this firebreak does not understand')
  const { made_at, hub_version, postgres, migrations, tables, sequences, days, keys, log_positions } =
    found as Record<keyof Manifest, unknown>
  const isSound =
    [made_at, hub_version, postgres].every(isText) &&
    !Number.isNaN(Date.parse(made_at as string)) &&
    isTexts(migrations) &&
    isTexts(days) &&
    days.every((day) => /^\d{4}-\d\d-\d\d$/.test(day) && !Number.isNaN(Date.parse(day))) &&
    isListOf(tables, isTable) &&
    areDistinct((tables as ArchiveTable[]).map(({ name }) => name)) &&
    isListOf(sequences, isSequence) &&
    ['sealed', 'plain', 'none'].includes(keys as string) &&
    (log_positions === null || isListOf(log_positions, isLane))
  if (!isSound) throw new ArchiveDamaged(DAMAGED)
  return found as unknown as Manifest
}
