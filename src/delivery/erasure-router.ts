import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { jsonBody } from '../http/body.js'
import { parsePage, toPage, toTimeCursor } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import type { Erasure } from './erasure-repository.js'
import type { ErasureService } from './erasure-service.js'

export const ERASURE_REQUEST = {
  type: 'object',
  additionalProperties: false,
  required: ['subject', 'reason'],
  properties: {
    subject: { type: 'object' },
    reason: { type: 'string', minLength: 1, maxLength: 500 },
    force: { type: 'boolean' },
  },
}

/** Said in every answer: whoever asks for an erasure must know its end. */
const NOT_REACHED = [
  'Receivers keep what was delivered to them.',
  'Kafka keeps its records for the retention of the topics.',
  'Backups, replicas and the write-ahead log of PostgreSQL keep what they held; dead rows stay until the next vacuum.',
  'The names that a source gave to its SETs (jti, txn), those that enforcement points report for their replicas, and hashes of identifiers stay.',
]

/** `/v1/subjects`: `POST erase`, `GET erasures`, `GET erasures/{id}`. */
export function erasureRouter(options: {
  erasures: ErasureService
  authorize(permission: Permission): RequestHandler
}): Router {
  const { erasures, authorize } = options
  const router = Router()
  router.post('/erase', authorize('subjects.erase'), jsonBody('64kb'), async (req, res) => {
    const body = parseBody<{ subject: unknown; reason: string; force?: boolean }>(ERASURE_REQUEST, req.body)
    const wish = { subject: body.subject, reason: body.reason, force: body.force ?? false }
    res.status(202).json(toBody(await erasures.request(wish, actorOf(res))))
  })
  router.get('/erasures', authorize('audit.read'), async (req, res) => {
    const { limit, after } = parsePage(req.query, 2)
    const rows = await erasures.list({ limit: limit + 1, after: toTimeCursor(after) })
    const keysOf = (row: Erasure) => [row.requestedAt.toISOString(), row.id]
    res.json(toPage(rows, limit, { keysOf, render: toBody }))
  })
  router.get('/erasures/:id', authorize('audit.read'), async (req, res) => {
    res.json(toBody(await erasures.get(uuidParam(req, 'id', 'erasure'))))
  })
  return router
}

function toBody(erasure: Erasure) {
  return {
    id: erasure.id,
    state: erasure.step === 'done' ? 'done' : erasure.waits ? 'waiting' : 'running',
    step: erasure.step,
    subject_hash: erasure.subjectHash.toString('hex'),
    reason: erasure.reason,
    force: erasure.force,
    requested_by: erasure.requestedBy,
    requested_at: erasure.requestedAt.toISOString(),
    finished_at: erasure.finishedAt?.toISOString() ?? null,
    events_seen: erasure.eventsSeen,
    events_erased: erasure.eventsErased,
    events_owed: erasure.held,
    deliveries_discarded: erasure.deliveriesDiscarded,
    subjects_erased: erasure.subjectsErased,
    records_erased: erasure.recordsErased,
    not_reached: NOT_REACHED,
  }
}
