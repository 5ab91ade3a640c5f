import { type RequestHandler, Router } from 'express'
import { PAGE_PROPERTIES, parsePage, type TimeCursor, toPage, toTimeCursor } from '../http/page.js'
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

const LIST_SCHEMA = {
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

/** Newest first, with full microseconds in the cursor so that no row is skipped or shown twice. */
function list(
  db: Database,
  query: AuditQuery,
  page: { limit: number; after: TimeCursor | undefined },
): Promise<AuditListRow[]> {
  return sqlRows<AuditListRow>(
    db,
    `select id, at, at::text as at_text, actor, action, target, detail, seq, hash from audit_log
     where (?::text is null or actor = ?) and (?::text is null or action = ?) and (?::text is null or target = ?)
       and (?::timestamptz is null or at >= ?) and (?::timestamptz is null or at < ?)
       and (?::timestamptz is null or (at, id) < (?::timestamptz, ?::uuid))
     order by at desc, id desc limit ?`,
    [
      ...twice(query.actor),
      ...twice(query.action),
      ...twice(query.target),
      ...twice(query.from),
      ...twice(query.to),
      ...twice(page.after?.at),
      page.after?.id ?? null,
      page.limit,
    ],
  )
}

const twice = (value: string | undefined) => [value ?? null, value ?? null]

/** `GET /v1/audit`: who did what; `GET /v1/audit/verification`: whether the sealed chain is whole. */
export function auditRouter(options: { db: Database; authorize: RequestHandler }): Router {
  const { db, authorize } = options
  const router = Router()
  router.get('/', authorize, async (req, res) => {
    const query = parseQuery<AuditQuery>(LIST_SCHEMA, req.query)
    const { limit, after } = parsePage(req.query, 2)
    const rows = await list(db, query, { limit: limit + 1, after: toTimeCursor(after) })
    res.json(toPage(rows, limit, { keysOf: (row) => [row.at_text, row.id], render }))
  })
  router.get('/verification', authorize, async (_req, res) => {
    const verdict = await verifyAuditChain(db)
    res.json(
      verdict.ok
        ? { ok: true, rows: verdict.rows, last_hash: verdict.lastHash }
        : { ok: false, seq: verdict.seq, id: verdict.id ?? null, reason: verdict.reason },
    )
  })
  return router
}
