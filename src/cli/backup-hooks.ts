import type { Readable, Writable } from 'node:stream'

/** How far a copy is, and how it is stopped. */
interface Copying {
  readonly signal: AbortSignal
  onProgress(at: { table: string; bytes: number }): void
}

export interface BackupCall extends Copying {
  readonly out: Writable
}

export interface RestoreCall extends Copying {
  readonly input: Readable
}

/** What an archive holds. */
export interface Archived {
  readonly rows: number
  /** Before compression. */
  readonly bytes: number
  readonly manifest: {
    readonly made_at: string
    readonly hub_version: string
    readonly migrations: readonly string[]
    readonly tables: readonly unknown[]
    /** Of the keys that open all others: sealed under a master key, plain, or there are none. */
    readonly keys: 'sealed' | 'plain' | 'none'
    readonly log_positions: unknown
  }
}

export interface BackedUp extends Archived {
  readonly warnings: readonly string[]
}

export interface Restored extends Archived {
  /** Migrations that the archive's database did not have yet. */
  readonly migrated: readonly string[]
  /** Where it is now, for a person. */
  readonly into: string
  /** The hub that would start there reads a Kafka log. */
  readonly usesKafka: boolean
  readonly warnings: readonly string[]
}

export interface Rewound {
  readonly log: 'kafka' | 'postgres'
  readonly target?: { to: string } | { positions_of: string }
  /** `skipped` were wanted, and are gone or too old. */
  readonly lanes: readonly { lane: string; records: number; skipped: number }[]
}

/** The part of the process entry that copies and goes back. */
export interface BackupHooks {
  /** Writes an archive of the whole database. */
  backup(options: BackupCall): Promise<BackedUp>
  /** Fills the empty database that `serve` would use. */
  restore(options: RestoreCall): Promise<Restored>
  /** Has the events of a Kafka log read again. Every hub must be stopped. */
  rewindLog(request: { to: string } | { fromBackup: true }): Promise<Rewound>
}
