import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { jsonBody } from '../http/body.js'
import { PAGE_PROPERTIES, parsePage, toPage, toTimeCursor } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody, parseQuery } from '../http/validate.js'
import { laneOf } from './open-delivery.js'
import type { ParkedFilter, ParkedRow } from './parked-repository.js'
import type { ParkedService } from './parked-service.js'

export const PARKED_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...PAGE_PROPERTIES,
    stream_id: { type: 'string', format: 'uuid' },
    txn: { type: 'string', minLength: 1, maxLength: 255 },
    type: { type: 'string', minLength: 1, maxLength: 500 },
    state: { enum: ['open', 'resolved', 'all'] },
    from: { type: 'string', format: 'date-time' },
    to: { type: 'string', format: 'date-time' },
  },
}

export const DISCARD = {
  type: 'object',
  additionalProperties: false,
  required: ['reason'],
  properties: { reason: { type: 'string', minLength: 1, maxLength: 500 } },
}

interface ListQuery {
  stream_id?: string
  txn?: string
  type?: string
  state?: ParkedFilter['state']
  from?: string
  to?: string
}

function render(row: ParkedRow) {
  return {
    id: row.id,
    kind: row.kind,
    state: row.resolved_at ? 'resolved' : 'open',
    code: row.code,
    reason: row.reason,
    lane: row.lane === null ? null : laneOf(row.lane),
    stream_id: row.stream_id,
    event_id: row.event_id,
    type: row.type,
    txn: row.txn,
    parked_at: row.parked_at.toISOString(),
    resolved_at: row.resolved_at?.toISOString() ?? null,
    resolution: row.resolution,
  }
}

/** `GET /v1/parked`, `POST /v1/parked/{id}/replay`, `POST /v1/parked/{id}/discard`. */
export function parkedRouter(options: {
  parked: ParkedService
  authorize(permission: Permission): RequestHandler
}): Router {
  const { parked, authorize } = options
  const router = Router()
  router.get('/', authorize('read'), async (req, res) => {
    const query = parseQuery<ListQuery>(PARKED_QUERY, req.query)
    const { limit, after } = parsePage(req.query, 2, PARKED_QUERY)
    const rows = await parked.list({
      streamId: query.stream_id,
      txn: query.txn,
      type: query.type,
      state: query.state ?? 'open',
      from: query.from,
      to: query.to,
      after: toTimeCursor(after),
      limit: limit + 1,
    })
    res.json(toPage(rows, limit, { keysOf: (row) => [row.parked_at.toISOString(), row.id], render }))
  })
  router.post('/:id/replay', authorize('parked.replay'), async (req, res) => {
    res.status(202).json(render(await parked.replay(uuidParam(req, 'id', 'parked item'), actorOf(res))))
  })
  router.post('/:id/discard', authorize('parked.replay'), jsonBody('16kb'), async (req, res) => {
    const { reason } = parseBody<{ reason: string }>(DISCARD, req.body)
    res.json(render(await parked.discard(uuidParam(req, 'id', 'parked item'), reason, actorOf(res))))
  })
  return router
}
