import { type ApiRoute, closed, TEXT, UUID } from '../http/api-description.js'
import { NEW_EVENT } from './event-router.js'

/** Told of `eventRouter`. */
export const EMIT_ROUTE: ApiRoute = {
  id: 'emitEvent',
  method: 'post',
  path: '/v1/events',
  summary: 'State an event',
  description:
    'sub_id is as the schema subject says, event as the one of its type in caep-events, risc-events or ssf-events.',
  access: { permission: 'events.emit' },
  body: NEW_EVENT,
  answers: { 202: { description: 'The event is durable.', schema: closed({ txn: TEXT, event_id: UUID }) } },
  errors: { 400: ['ERR_INVALID_SUBJECT'] },
}
