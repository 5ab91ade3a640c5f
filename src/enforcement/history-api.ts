import {
  type ApiRoute,
  COUNT,
  closed,
  nullable,
  pageOf,
  TEXT,
  TEXT_OR_NULL,
  TIME,
  TIME_OR_NULL,
  UUID,
} from '../http/api-description.js'
import { LANES } from '../secevent/event.js'
import { DELIVERY_STATES } from './deliveries-read-model.js'
import { EVENT_STATES } from './events-read-model.js'
import { historySchema } from './history-filter.js'
import { STAGES } from './stages.js'

const SECONDS_OR_NULL = { ...nullable(COUNT), description: 'Seconds since the epoch.' }

const REPORT = closed({
  stage: { enum: STAGES },
  status: { enum: ['applied', 'failed', 'not_applicable'] },
  replica: TEXT_OR_NULL,
  reason: TEXT_OR_NULL,
  streams_cut: nullable(COUNT),
  reported_at: TIME,
})
const DELIVERY = closed(
  {
    jti: TEXT,
    stream_id: UUID,
    event_id: UUID,
    txn: TEXT,
    receiver: closed({ id: UUID, name: TEXT_OR_NULL }),
    type: TEXT,
    lane: { enum: LANES },
    state: { enum: DELIVERY_STATES },
    attempts: COUNT,
    failure: TEXT_OR_NULL,
    parked_id: UUID,
    event_timestamp: SECONDS_OR_NULL,
    accepted_at: TIME,
    queued_at: TIME_OR_NULL,
    delivered_at: TIME_OR_NULL,
    received_at: TIME_OR_NULL,
    finished_at: TIME_OR_NULL,
    next_attempt_at: TIME_OR_NULL,
    acknowledgements: { type: 'array', items: REPORT },
  },
  { title: 'Delivery', optional: ['parked_id'] },
)
const ANY_OBJECT_OR_NULL = { type: ['object', 'null'], additionalProperties: true }
const EVENT = closed(
  {
    event_id: UUID,
    txn: TEXT,
    type: TEXT,
    lane: { enum: LANES },
    effect: { enum: ['tightens', 'loosens', 'neutral'] },
    state: { enum: EVENT_STATES },
    quarantine: TEXT_OR_NULL,
    source: closed({ id: UUID, name: TEXT_OR_NULL, issuer: TEXT, jti: TEXT }),
    accepted_at: TIME,
    event_timestamp: SECONDS_OR_NULL,
    sub_id: ANY_OBJECT_OR_NULL,
    claims: ANY_OBJECT_OR_NULL,
    content: { enum: ['readable', 'unreadable'] },
  },
  { title: 'Event' },
)

const access = { permission: 'read' }

/** Told of `historyRouter`. */
export const HISTORY_ROUTES: readonly ApiRoute[] = [
  {
    id: 'listEvents',
    method: 'get',
    path: '/v1/events',
    summary: 'Accepted events, newest first',
    access,
    query: historySchema(EVENT_STATES),
    answers: { 200: { description: 'A page of events.', schema: pageOf(EVENT) } },
  },
  {
    id: 'listDeliveries',
    method: 'get',
    path: '/v1/deliveries',
    summary: 'Deliveries wherever they stand, newest first',
    access,
    query: historySchema(DELIVERY_STATES),
    answers: { 200: { description: 'A page of deliveries.', schema: pageOf(DELIVERY) } },
  },
]
