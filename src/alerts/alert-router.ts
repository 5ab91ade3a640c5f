import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { PAGE_PROPERTIES, parsePage, toPage, toTimeCursor } from '../http/page.js'
import { parseQuery } from '../http/validate.js'
import { ALERT_KINDS, type AlertKind, renderAlert } from './alert.js'
import type { AlertFilter } from './alert-repository.js'
import type { AlertService, TestResult } from './alert-service.js'
import type { Told } from './tell.js'

export const ALERTS_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...PAGE_PROPERTIES,
    state: { enum: ['open', 'resolved', 'all'] },
    kind: { enum: ALERT_KINDS },
  },
}

const renderTold = (told: Told | undefined) =>
  told ? { delivered: told.ok, status: told.status ?? null, failure: told.ok ? null : told.failure } : null

const renderTest = ({ noticeId, told }: TestResult) => ({
  notice_id: noticeId,
  webhook: renderTold(told.webhook),
  log: renderTold(told.log),
})

/** `GET /v1/alerts`, `POST /v1/alerts/test`. */
export function alertRouter(options: {
  alerts: AlertService
  authorize(permission: Permission): RequestHandler
}): Router {
  const { alerts, authorize } = options
  const router = Router()
  router.get('/', authorize('read'), async (req, res) => {
    const query = parseQuery<{ state?: AlertFilter['state']; kind?: AlertKind }>(ALERTS_QUERY, req.query)
    const { limit, after } = parsePage(req.query, 2, ALERTS_QUERY)
    const rows = await alerts.list({
      state: query.state ?? 'open',
      kind: query.kind,
      after: toTimeCursor(after),
      limit: limit + 1,
    })
    const keysOf = (alert: (typeof rows)[number]) => [alert.openedAt.toISOString(), alert.id]
    res.json(toPage(rows, limit, { keysOf, render: renderAlert }))
  })
  router.post('/test', authorize('alerts.test'), async (_req, res) => {
    res.json(renderTest(await alerts.test(actorOf(res))))
  })
  return router
}
