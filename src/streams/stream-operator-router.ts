import { type RequestHandler, Router } from 'express'
import { actorOf, type OperatorAuth, requireOperator } from '../auth/callers.js'
import { jsonBody } from '../http/body.js'
import { PAGE_PROPERTIES, parsePage, toPage } from '../http/page.js'
import { isUuid, uuidParam } from '../http/params.js'
import { parseBody, parseQuery } from '../http/validate.js'
import { InvalidRequest } from '../kernel/errors.js'
import { STREAM_STATUSES, type StreamStatus } from './stream.js'
import { StreamNotFound } from './stream-errors.js'
import type { StreamReadModel } from './stream-read-model.js'
import type { StreamStatusService } from './stream-status-service.js'

export interface StreamOperatorRouterOptions {
  operators: OperatorAuth
  readModel: StreamReadModel
  statuses: Pick<StreamStatusService, 'setStatusByHub'>
}

export const STREAM_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...PAGE_PROPERTIES,
    receiver_id: { type: 'string', format: 'uuid' },
    status: { type: 'string', enum: STREAM_STATUSES },
  },
} as const

export const STATUS_REASON = {
  type: 'object',
  additionalProperties: false,
  properties: { reason: { type: 'string', minLength: 1, maxLength: 1_000 } },
} as const

/** Operators' view of all streams, to be mounted at `/v1/streams`. What they stop, only they start again. */
export function streamOperatorRouter(options: StreamOperatorRouterOptions): Router {
  const read = requireOperator(options.operators, 'read')
  const manage = requireOperator(options.operators, 'streams.manage')

  const setStatus =
    (status: StreamStatus): RequestHandler =>
    async (req, res) => {
      const { reason } = parseBody<{ reason?: string }>(STATUS_REASON, req.body ?? {})
      const streamId = uuidParam(req, 'id', 'stream')
      const actor = actorOf(res)
      const result = await options.statuses.setStatusByHub(streamId, status, reason, {
        by: 'operator',
        actor,
      })
      res.status(result.confirmed ? 200 : 202).json(await options.readModel.find(streamId))
    }

  return Router()
    .get('/', read, async (req, res) => {
      const query = parseQuery<{ receiver_id?: string; status?: StreamStatus }>(STREAM_QUERY, req.query)
      const { limit, after } = parsePage(req.query, 1, STREAM_QUERY)
      if (after && !isUuid(after[0])) throw new InvalidRequest('The cursor was not given by this list.')
      const filter = { receiverId: query.receiver_id, status: query.status, limit, after: after?.[0] }
      const rows = await options.readModel.list(filter)
      res.json(toPage(rows, limit, { keysOf: (row) => [row.stream_id], render: (row) => row }))
    })
    .get('/:id', read, async (req, res) => {
      const stream = await options.readModel.find(uuidParam(req, 'id', 'stream'))
      if (!stream) throw new StreamNotFound()
      res.json(stream)
    })
    .post('/:id/pause', manage, jsonBody('16kb'), setStatus('paused'))
    .post('/:id/enable', manage, jsonBody('16kb'), setStatus('enabled'))
}
