import { Router } from 'express'
import { actorOf } from '../auth/callers.js'
import { jsonBody } from '../http/body.js'
import { parseBody } from '../http/validate.js'
import { present } from '../kernel/present.js'
import { MAX_EPOCH_SECONDS } from '../secevent/security-event.js'
import type { EventService } from './event-service.js'
import type { Authorize } from './transmitter-router.js'

export const NEW_EVENT = {
  type: 'object',
  additionalProperties: false,
  required: ['type', 'sub_id', 'event'],
  properties: {
    type: { type: 'string', minLength: 1, maxLength: 512 },
    sub_id: { type: 'object' },
    event: { type: 'object' },
    event_timestamp: { type: 'integer', minimum: 0, exclusiveMaximum: MAX_EPOCH_SECONDS },
    txn: { type: 'string', minLength: 1, maxLength: 200, pattern: '^[\\u0021-\\u007e]+$' },
  },
}

interface EmitBody {
  type: string
  sub_id: unknown
  event: Record<string, unknown>
  event_timestamp?: number
  txn?: string
}

/** `POST /v1/events`: an operator states an event. Reading events belongs to the console. */
export function eventRouter(options: { events: EventService; authorize: Authorize }): Router {
  const emit = options.authorize.operator('events.emit')
  return Router().post('/', emit, jsonBody(), async (req, res) => {
    const body = parseBody<EmitBody>(NEW_EVENT, req.body)
    const input = {
      type: body.type,
      subject: body.sub_id,
      claims: body.event,
      ...present({ eventTimestampS: body.event_timestamp, txn: body.txn }),
    }
    const { txn, eventId } = await options.events.emit(input, actorOf(res))
    res.status(202).json({ txn, event_id: eventId })
  })
}
