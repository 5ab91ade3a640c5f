import {
  type ApiSection,
  closed,
  nullable,
  pageOf,
  TEXT,
  TEXT_OR_NULL,
  TIME_OR_NULL,
  UUID,
} from '../http/api-description.js'
import { EVENT_TYPE_CHANGE, EVENT_TYPES_QUERY, NEW_EVENT_TYPE } from './event-type-router.js'

const EFFECT = { enum: ['tightens', 'loosens', 'neutral'] }
const EVENT_TYPE = closed(
  {
    id: { ...nullable(UUID), description: 'Null: built in.' },
    type: TEXT,
    family: { enum: ['CAEP', 'RISC', 'SSF', 'SCIM', 'custom'] },
    effect: {
      description: 'What it does to access, or the member of the payload that decides.',
      anyOf: [
        EFFECT,
        closed({ member: TEXT, values: { type: 'object', additionalProperties: EFFECT }, otherwise: EFFECT }),
      ],
    },
    lanes: { type: 'array', items: { enum: ['control', 'urgent', 'routine'] } },
    description: TEXT_OR_NULL,
    schema: { type: ['object', 'null'], additionalProperties: true },
    created_at: TIME_OR_NULL,
    updated_at: TIME_OR_NULL,
  },
  { title: 'EventType' },
)

const read = { permission: 'read' }
const manage = { permission: 'event-types.manage' }
const one = { description: 'The event type.', schema: EVENT_TYPE }

/** Told of `eventTypeRouter`. */
export const EVENT_TYPE_API: ApiSection = {
  name: 'Event types',
  description: 'What each event type does to access: the built-in ones and your own.',
  routes: [
    {
      id: 'listEventTypes',
      method: 'get',
      path: '/v1/event-types',
      summary: 'Event types by name',
      access: read,
      query: EVENT_TYPES_QUERY,
      answers: { 200: { description: 'A page of event types.', schema: pageOf(EVENT_TYPE) } },
    },
    {
      id: 'createEventType',
      method: 'post',
      path: '/v1/event-types',
      summary: 'Register an event type',
      description:
        'effect: tightens, loosens, neutral, or {member, values, otherwise}. schema: JSON Schema 2020-12 of the payload, without pattern, format and $ref.',
      access: manage,
      body: NEW_EVENT_TYPE,
      answers: { 201: one },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'getEventType',
      method: 'get',
      path: '/v1/event-types/{id}',
      summary: 'One registered event type',
      access: read,
      answers: { 200: one },
    },
    {
      id: 'updateEventType',
      method: 'patch',
      path: '/v1/event-types/{id}',
      summary: 'Change a registered event type; it counts for events from now on',
      access: manage,
      body: EVENT_TYPE_CHANGE,
      answers: { 200: one },
    },
    {
      id: 'deleteEventType',
      method: 'delete',
      path: '/v1/event-types/{id}',
      summary: 'Forget a registered event type',
      access: manage,
      answers: { 204: { description: 'Its events are unknown from now on; those already taken go on.' } },
    },
  ],
}
