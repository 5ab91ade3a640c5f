import {
  type ApiRoute,
  type ApiSection,
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
import { DISCARD, DISCARD_MANY, PARKED_QUERY, REPLAY_MANY } from './parked-router.js'
import { POLL_REQUEST } from './poll-router.js'

const PARKED = closed(
  {
    id: UUID,
    kind: { enum: ['delivery', 'event', 'record'] },
    state: { enum: ['open', 'resolved'] },
    code: TEXT,
    reason: TEXT,
    lane: nullable({ enum: LANES }),
    stream_id: nullable(UUID),
    event_id: nullable(UUID),
    type: TEXT_OR_NULL,
    txn: TEXT_OR_NULL,
    parked_at: TIME,
    resolved_at: TIME_OR_NULL,
    resolution: TEXT_OR_NULL,
  },
  { title: 'ParkedItem' },
)
const settledMany = (count: string, title: string) =>
  closed(
    {
      [count]: COUNT,
      left: {
        ...COUNT,
        description:
          'Still open under this filter, counted up to 10,000. Without `more` they cannot be replayed.',
      },
      more: { type: 'boolean', description: '500 were done: send it again, with this `to`.' },
      to: { ...TIME, description: 'What was parked then or later was left alone.' },
    },
    { title },
  )
const POLL_ANSWER = closed(
  {
    sets: {
      type: 'object',
      description: 'jti to SET, in compact form.',
      additionalProperties: { type: 'string' },
    },
    moreAvailable: { const: true },
  },
  { title: 'PollAnswer', optional: ['moreAvailable'] },
)

/** RFC 8936 §2.4: told of `pollRouter`. @param issuerPath the endpoint stands below it */
export function pollRoute(issuerPath: string): ApiRoute {
  return {
    id: 'pollSets',
    method: 'post',
    path: `${issuerPath}/ssf/poll/{stream_id}`,
    summary: 'Acknowledge SETs, then get the next ones (RFC 8936)',
    access: { scope: 'ssf.read' },
    body: POLL_REQUEST,
    bodyOptional: true,
    answers: { 200: { description: 'SETs, or none within the time of a held poll.', schema: POLL_ANSWER } },
  }
}

const replay = { permission: 'parked.replay' }

/** Told of `parkedRouter`. */
export const PARKED_API: ApiSection = {
  name: 'Parked',
  description: 'What could not go on by itself.',
  routes: [
    {
      id: 'listParked',
      method: 'get',
      path: '/v1/parked',
      summary: 'Parked items, newest first',
      access: { permission: 'read' },
      query: PARKED_QUERY,
      answers: { 200: { description: 'A page of items.', schema: pageOf(PARKED) } },
    },
    {
      id: 'replayParked',
      method: 'post',
      path: '/v1/parked/{id}/replay',
      summary: 'Send a parked SET again, under the same jti',
      access: replay,
      answers: { 202: { description: 'It is queued again.', schema: PARKED } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'discardParked',
      method: 'post',
      path: '/v1/parked/{id}/discard',
      summary: 'End a parked item for good',
      access: replay,
      body: DISCARD,
      answers: { 200: { description: 'The item.', schema: PARKED } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'replayManyParked',
      method: 'post',
      path: '/v1/parked/replay',
      summary: 'Send parked SETs that match a filter again, oldest first, 500 in a call',
      access: replay,
      body: REPLAY_MANY,
      answers: {
        202: { description: 'They are queued again.', schema: settledMany('replayed', 'ReplayedMany') },
      },
    },
    {
      id: 'discardManyParked',
      method: 'post',
      path: '/v1/parked/discard',
      summary: 'End parked items that match a filter for good, oldest first, 500 in a call',
      access: replay,
      body: DISCARD_MANY,
      answers: { 200: { description: 'They are ended.', schema: settledMany('discarded', 'DiscardedMany') } },
    },
  ],
}
