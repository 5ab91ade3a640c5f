import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { jsonBody } from '../http/body.js'
import { PAGE_PROPERTIES, parsePage, toPage, toTimeCursor } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody, parseQuery, parseTime } from '../http/validate.js'
import { laneOf } from './open-delivery.js'
import type { ParkedFilter, ParkedMatch, ParkedRow } from './parked-repository.js'
import type { ParkedService } from './parked-service.js'

const MATCH_PROPERTIES = {
  stream_id: { type: 'string', format: 'uuid' },
  txn: { type: 'string', minLength: 1, maxLength: 255 },
  type: { type: 'string', minLength: 1, maxLength: 500 },
  code: { type: 'string', minLength: 1, maxLength: 100 },
  from: { type: 'string', format: 'date-time', description: 'Parked then or later.' },
  to: { type: 'string', format: 'date-time', description: 'Parked before.' },
}

export const PARKED_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: { ...PAGE_PROPERTIES, ...MATCH_PROPERTIES, state: { enum: ['open', 'resolved', 'all'] } },
}

/** Never empty: nobody means all that there is by saying nothing. */
const MATCH = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: MATCH_PROPERTIES,
}

export const DISCARD = {
  type: 'object',
  additionalProperties: false,
  required: ['reason'],
  properties: { reason: { type: 'string', minLength: 1, maxLength: 500 } },
}

export const REPLAY_MANY = {
  type: 'object',
  additionalProperties: false,
  required: ['filter'],
  properties: { filter: MATCH },
}

export const DISCARD_MANY = {
  type: 'object',
  additionalProperties: false,
  required: ['filter', 'reason'],
  properties: { filter: MATCH, ...DISCARD.properties },
}

interface MatchBody {
  stream_id?: string
  txn?: string
  type?: string
  code?: string
  from?: string
  to?: string
}

function toMatch({ stream_id, txn, type, code, from, to }: MatchBody): ParkedMatch {
  return {
    streamId: stream_id,
    txn,
    type,
    code,
    from: from && parseTime('from', from).toISOString(),
    to: to && parseTime('to', to).toISOString(),
  }
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

/** `GET /v1/parked`, `POST /v1/parked/{id}/replay` and `/discard`, `POST /v1/parked/replay` and `/discard` for many. */
export function parkedRouter(options: {
  parked: ParkedService
  authorize(permission: Permission): RequestHandler
}): Router {
  const { parked, authorize } = options
  const router = Router()
  router.get('/', authorize('read'), async (req, res) => {
    const query = parseQuery<MatchBody & { state?: ParkedFilter['state'] }>(PARKED_QUERY, req.query)
    const { limit, after } = parsePage(req.query, 2, PARKED_QUERY)
    const rows = await parked.list({
      ...toMatch(query),
      state: query.state ?? 'open',
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
  router.post('/replay', authorize('parked.replay'), jsonBody('16kb'), async (req, res) => {
    const { filter } = parseBody<{ filter: MatchBody }>(REPLAY_MANY, req.body)
    const { count, ...rest } = await parked.replayMatching(toMatch(filter), actorOf(res))
    res.status(202).json({ replayed: count, ...rest })
  })
  router.post('/discard', authorize('parked.replay'), jsonBody('16kb'), async (req, res) => {
    const { filter, reason } = parseBody<{ filter: MatchBody; reason: string }>(DISCARD_MANY, req.body)
    const { count, ...rest } = await parked.discardMatching(toMatch(filter), reason, actorOf(res))
    res.json({ discarded: count, ...rest })
  })
  return router
}
