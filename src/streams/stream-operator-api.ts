import {
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
import { METHOD_URI, SHARD_COUNT, STATUS_CAUSES, STREAM_STATUSES } from './stream.js'
import { STATUS_REASON, STREAM_QUERY } from './stream-operator-router.js'
import { STREAM_TLS_ROUTES } from './stream-tls-api.js'

const FAILING = {
  ...closed({
    class: { ...TEXT, description: 'connect, dns, tls, timeout, unauthorized and so on: docs/operating.md.' },
    reason: TEXT,
    since: TIME,
    class_since: { ...TIME, description: 'Since when it has been of this class alone.' },
    failures: { ...COUNT, description: 'In a row.' },
    last_failed_at: TIME,
    next_probe_at: { ...TIME_OR_NULL, description: 'null: at any moment.' },
  }),
  title: 'StreamFailing',
  description: 'Of a push stream whose endpoint does nothing but fail.',
}

const MEMBERS = {
  stream_id: UUID,
  receiver: closed({ id: UUID, name: TEXT }),
  status: { enum: STREAM_STATUSES },
  status_reason: TEXT_OR_NULL,
  status_by: { enum: ['receiver', 'hub', 'operator'] },
  status_cause: { enum: [...STATUS_CAUSES, null], description: 'Why the hub itself paused it.' },
  failing: nullable(FAILING),
  delivery: closed({ method: { enum: Object.values(METHOD_URI) }, endpoint_url: TEXT_OR_NULL }),
  events_requested: { type: ['array', 'null'], items: TEXT },
  events_delivered: { type: 'array', items: TEXT },
  description: TEXT_OR_NULL,
  subject_count: COUNT,
  shard: { type: 'integer', minimum: 0, exclusiveMaximum: SHARD_COUNT },
  verified_at: TIME_OR_NULL,
  active_at: TIME,
  created_at: TIME,
  updated_at: TIME,
}
const OVERVIEW = closed(MEMBERS, { title: 'StreamOverview' })
const DETAIL = closed(
  {
    ...MEMBERS,
    open_deliveries: { ...COUNT, description: 'Not yet received; 10,000 means that or more.' },
    oldest_open_at: TIME_OR_NULL,
  },
  { title: 'StreamDetail' },
)

const read = { permission: 'read' }
const manage = { permission: 'streams.manage' }
const errors = { 404: ['ERR_STREAM_NOT_FOUND'] }
const changed = {
  body: STATUS_REASON,
  bodyOptional: true,
  answers: {
    200: { description: 'It holds.', schema: DETAIL },
    202: { description: 'It is set; the process that sends has not confirmed within 1 s.', schema: DETAIL },
  },
  errors,
}

/** Told of `streamOperatorRouter` and `streamTlsRouter`. */
export const STREAM_API: ApiSection = {
  name: 'Streams',
  description: "Operators' view of all streams.",
  routes: [
    {
      id: 'listStreams',
      method: 'get',
      path: '/v1/streams',
      summary: 'Streams of all receivers',
      access: read,
      query: STREAM_QUERY,
      answers: { 200: { description: 'A page of streams.', schema: pageOf(OVERVIEW) } },
    },
    {
      id: 'getStream',
      method: 'get',
      path: '/v1/streams/{id}',
      summary: 'One stream, with its backlog',
      access: read,
      answers: { 200: { description: 'The stream.', schema: DETAIL } },
      errors,
    },
    {
      ...changed,
      id: 'pauseStream',
      method: 'post',
      path: '/v1/streams/{id}/pause',
      summary: 'Stop a stream; only an operator starts it again',
      access: manage,
    },
    {
      ...changed,
      id: 'enableStream',
      method: 'post',
      path: '/v1/streams/{id}/enable',
      summary: 'Start a stream',
      access: manage,
    },
    {
      id: 'verifyStream',
      method: 'post',
      path: '/v1/streams/{id}/verify',
      summary: 'Send a verification event without state (SSF 1.0 §8.1.4)',
      access: manage,
      answers: { 204: { description: 'It is on its way.' } },
      errors,
    },
    ...STREAM_TLS_ROUTES,
  ],
}
