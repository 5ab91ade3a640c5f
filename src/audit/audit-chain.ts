import { createHash } from 'node:crypto'
import { canonicalJson } from '../secevent/canonical-json.js'
import { type Database, sqlRows } from '../storage/database.js'
import { TRIMMED } from './audit-trim.js'

/** A row as it is hashed. `at` in UTC with microseconds and `detail` as PostgreSQL writes them, so nothing is rounded. */
export interface AuditRow {
  id: string
  at: string
  actor: string
  action: string
  target: string | null
  detail: string
}

/** SQL for the columns of AuditRow. */
export const AUDIT_COLUMNS = `id, to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') at, actor, action, target, detail::text detail`

/** What the first row's `prev` is. */
export const FIRST_HASH = Buffer.alloc(32)
const PAGE = 1_000

/** SHA-256 over the canonical JSON (RFC 8785) of the row, its number and the hash before it in hex. */
export function hashAuditRow(row: AuditRow, seq: number, previous: Buffer): Buffer {
  const { id, at, actor, action, target, detail } = row
  const text = canonicalJson({ seq, id, at, actor, action, target, detail, prev: previous.toString('hex') })
  return createHash('sha256').update(text).digest()
}

export type AuditVerdict =
  | {
      ok: true
      rows: number /** Hex; keep it elsewhere: only that shows that rows were cut off at the end. */
      lastHash: string
    }
  | { ok: false; seq: number; id?: string; reason: 'missing' | 'changed' | 'chain_broken' }

interface SealedRow extends AuditRow {
  seq: number
  prev_hash: Buffer
  hash: Buffer
}

/** Recomputes the whole chain, from where it was last trimmed, and names the first row that does not fit. */
export async function verifyAuditChain(db: Database): Promise<AuditVerdict> {
  const start = await findStart(db)
  let { seq, hash: previous } = start
  for (;;) {
    const rows = await sqlRows<SealedRow>(
      db,
      `select seq, prev_hash, hash, ${AUDIT_COLUMNS} from audit_log where seq > ? order by seq limit ?`,
      [seq, PAGE],
    )
    for (const row of rows) {
      if (row.seq !== seq + 1) return { ok: false, seq: seq + 1, reason: 'missing' }
      if (!hashAuditRow(row, row.seq, row.prev_hash).equals(row.hash)) {
        return { ok: false, seq: row.seq, id: row.id, reason: 'changed' }
      }
      if (!row.prev_hash.equals(previous))
        return { ok: false, seq: row.seq, id: row.id, reason: 'chain_broken' }
      seq = row.seq
      previous = row.hash
    }
    if (rows.length < PAGE) return { ok: true, rows: seq - start.seq, lastHash: previous.toString('hex') }
  }
}

/** What the newest trim says of itself; its row is one of the chain. */
async function findStart(db: Database): Promise<{ seq: number; hash: Buffer }> {
  const [trim] = await sqlRows<{ seq: number; hash: string }>(
    db,
    `select (detail ->> 'seq')::bigint as seq, detail ->> 'hash' as hash from audit_log
     where action = ? and actor = 'hub' order by (detail ->> 'seq')::bigint desc limit 1`,
    [TRIMMED],
  )
  return trim ? { seq: trim.seq, hash: Buffer.from(trim.hash, 'hex') } : { seq: 0, hash: FIRST_HASH }
}
