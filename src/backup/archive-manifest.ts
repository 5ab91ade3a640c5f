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
export function parseJson<T>(payload: Buffer): T {
  try {
    return JSON.parse(payload.toString('utf8')) as T
  } catch (cause) {
    throw new ArchiveDamaged('the archive is damaged: a part of it cannot be read', { cause })
  }
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string')

/** Only the shape: who can write archives can write rows, but not SQL. @throws ArchiveUnknown */
export function parseManifest(payload: Buffer): Manifest {
  const found = parseJson<Partial<Manifest> | null>(payload)
  const tables: readonly Partial<ArchiveTable>[] = Array.isArray(found?.tables) ? found.tables : []
  const sequences: readonly { name?: unknown; value?: unknown }[] = Array.isArray(found?.sequences)
    ? found.sequences
    : []
  const isSound =
    found &&
    typeof found.made_at === 'string' &&
    isTexts(found.migrations) &&
    isTexts(found.days) &&
    found.days.every((day) => /^\d{4}-\d\d-\d\d$/.test(day)) &&
    tables.length > 0 &&
    tables.every((table) => typeof table.name === 'string' && isTexts(table.columns)) &&
    sequences.every(({ name, value }) => typeof name === 'string' && /^\d+$/.test(String(value)))
  if (!isSound) throw new ArchiveUnknown('this is an archive that this firebreak does not understand')
  return found as Manifest
}
