import { newId } from '../kernel/ids.js'
import type { Database } from '../storage/database.js'

export interface AuditEntry {
  /** Who: `operator:<name>`, `receiver:<id>`, `rule:<id>`, `hub`. */
  actor: string
  /** What: `noun.verb`. */
  action: string
  /** On what: `stream:<id>`, `agent:<id>`. */
  target?: string
  /** Why, and what changed. Never a secret. */
  detail?: object
}

export interface AuditLog {
  /** Inserts an unsealed row in the transaction that makes the change: either both happen or neither. */
  record(trx: Database, entry: AuditEntry): Promise<void>
}

/** The writer of `audit_log`; the sealer numbers and chains the rows after their commit. */
export function createAuditLog(): AuditLog {
  return {
    async record(trx, entry) {
      await trx('audit_log').insert({
        id: newId(),
        actor: storable(entry.actor),
        action: entry.action,
        target: entry.target === undefined ? null : storable(entry.target),
        detail: JSON.stringify(entry.detail ?? {}, (_, value: unknown) =>
          typeof value === 'string' ? storable(value) : value,
        ),
      })
    },
  }
}

/** A caller's text must not undo its own audit row: PostgreSQL takes neither U+0000 nor lone surrogates. */
function storable(text: string): string {
  return Buffer.from(text.replaceAll('\0', '\uFFFD')).toString()
}
