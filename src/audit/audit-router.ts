import { type RequestHandler, Router } from 'express'
import { PAGE_PROPERTIES, parsePage, type TimeCursor, toPage, toTimeCursor } from '../http/page.js'
import { type QueryRunner, runAtOnce } from '../http/query-runner.js'
import { parseQuery } from '../http/validate.js'
import { type Database, sqlRows } from '../storage/database.js'
import { verifyAuditChain } from './audit-chain.js'

interface AuditListRow {
  id: string
  at: Date
  at_text: string
  actor: string
  action: string
  target: string | null
  detail: object
  seq: number | null
  hash: Buffer | null
}

interface AuditQuery {
  actor?: string
  action?: string
  target?: string
  from?: string
  to?: string
}

export const AUDIT_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...PAGE_PROPERTIES,
    actor: { type: 'string', minLength: 1, maxLength: 300 },
    action: { type: 'string', minLength: 1, maxLength: 100 },
    target: { type: 'string', minLength: 1, maxLength: 300 },
    from: { type: 'string', format: 'date-time' },
    to: { type: 'string', format: 'date-time' },
  },
}

function render(row: AuditListRow) {
  return {
    id: row.id,
    at: row.at.toISOString(),
    actor: row.actor,
    action: row.action,
    target: row.target,
    detail: row.detail,
    // Null for the second before the sealer has come by.
    seq: row.seq,
    hash: row.hash?.toString('hex') ?? null,
  }
}

/**
 * Newest first, with full microseconds in the cursor so that no row is skipped or shown twice. Only what is asked
 * stands in the text: a condition that may be null would keep the index by time from leading to the page.
 */
function list(
  db: Database,
  query: AuditQuery,
  page: { limit: number; after: TimeCursor | undefined },
): Promise<AuditListRow[]> {
  const asked: [string, ...unknown[]][] = []
  for (const column of ['actor', 'action', 'target'] as const) {
    if (query[column] !== undefined) asked.push([`${column} = ?`, query[column]])
  }
  if (query.from !== undefined) asked.push(['at >= ?::timestamptz', query.from])
  if (query.to !== undefined) asked.push(['at < ?::timestamptz', query.to])
  if (page.after) asked.push(['(at, id) < (?::timestamptz, ?::uuid)', page.after.at, page.after.id])
  return sqlRows<AuditListRow>(
    db,
    `select id, at, at::text as at_text, actor, action, target, detail, seq, hash from audit_log
     ${asked.length === 0 ? '' : `where ${asked.map(([condition]) => condition).join(' and ')}`}
     order by at desc, id desc limit ?`,
    [...asked.flatMap(([, ...values]) => values), page.limit],
  )
}

/** `GET /v1/audit`: who did what; `GET /v1/audit/verification`: whether the sealed chain is whole. */
export function auditRouter(options: {
  db: Database
  authorize: RequestHandler
  /** Bounds how many such queries run at once. */
  run?: QueryRunner
}): Router {
  const { db, authorize, run = runAtOnce } = options
  const router = Router()
  router.get('/', authorize, async (req, res) => {
    const query = parseQuery<AuditQuery>(AUDIT_QUERY, req.query)
    const { limit, after } = parsePage(req.query, 2, AUDIT_QUERY)
    const rows = await run(res, () => list(db, query, { limit: limit + 1, after: toTimeCursor(after) }))
    res.json(toPage(rows, limit, { keysOf: (row) => [row.at_text, row.id], render }))
  })
  router.get('/verification', authorize, async (_req, res) => {
    const verdict = await run(res, () => verifyAuditChain(db))
    res.json(
      verdict.ok
        ? { ok: true, rows: verdict.rows, last_hash: verdict.lastHash }
        : { ok: false, seq: verdict.seq, id: verdict.id ?? null, reason: verdict.reason },
    )
  })
  return router
}
