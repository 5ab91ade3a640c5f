import { type RequestHandler, Router } from 'express'
import { type QueryRunner, runAtOnce } from '../http/query-runner.js'
import { DELIVERY_CURSOR_KEYS, DELIVERY_STATES, type DeliveriesReadModel } from './deliveries-read-model.js'
import { EVENT_CURSOR_KEYS, EVENT_STATES, type EventsReadModel } from './events-read-model.js'
import { historyQuery } from './history-filter.js'

/**
 * `GET /v1/deliveries`, `GET /v1/events`: 200 `{items, next}`, newest first.
 * @param options.operator admits operators who may see identifiers
 */
export function historyRouter(options: {
  deliveries: DeliveriesReadModel
  events: EventsReadModel
  operator: RequestHandler
  /** Bounds how many such queries run at once. */
  run?: QueryRunner
}): Router {
  const { deliveries, events, run = runAtOnce } = options
  const readDeliveryQuery = historyQuery(DELIVERY_STATES, DELIVERY_CURSOR_KEYS)
  const readEventQuery = historyQuery(EVENT_STATES, EVENT_CURSOR_KEYS)
  return Router()
    .get('/v1/deliveries', options.operator, async (req, res) => {
      const query = readDeliveryQuery(req.query)
      res.json(await run(res, () => deliveries.list(query)))
    })
    .get('/v1/events', options.operator, async (req, res) => {
      const query = readEventQuery(req.query)
      res.json(await run(res, () => events.list(query)))
    })
}
