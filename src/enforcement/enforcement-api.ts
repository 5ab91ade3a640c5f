import { type ApiSection, COUNT, closed, TEXT, TIME, UUID } from '../http/api-description.js'
import { ACKNOWLEDGEMENTS } from './acknowledgement-router.js'
import { STAGES } from './stages.js'
import { TIME_TO_REVOKE_QUERY } from './time-to-revoke-router.js'

const RESULTS = closed(
  {
    results: {
      type: 'array',
      items: closed({ jti: TEXT, result: { enum: ['recorded', 'repeat', 'unknown'] } }),
    },
  },
  { title: 'AcknowledgementResults' },
)

const MS = { type: ['number', 'null'] }
const SHARE = closed({ id: UUID, name: { type: ['string', 'null'] } })
const ROW = closed(
  {
    stream_id: UUID,
    event_type: TEXT,
    source: SHARE,
    point: SHARE,
    count: { ...COUNT, description: 'Samples expected.' },
    pending: { ...COUNT, description: "Younger than the stage's deadline, and still open." },
    outstanding: { ...COUNT, description: "Older than the stage's deadline, and still open." },
    p50_ms: MS,
    p90_ms: MS,
    p99_ms: MS,
    max_ms: MS,
    infinite: { type: 'boolean', description: 'Whether any sample is outstanding.' },
    not_applicable: COUNT,
    superseded: COUNT,
    paused: COUNT,
    deleted: COUNT,
    source_delay_p50_ms: MS,
    hub_p50_ms: MS,
  },
  { title: 'TimeToRevoke', optional: ['stream_id', 'event_type', 'source', 'point'] },
)

/** Told of `acknowledgementRouter` and `timeToRevokeRouter`. */
export const ENFORCEMENT_API: ApiSection = {
  name: 'Enforcement',
  description: 'What took effect, and how long it took.',
  routes: [
    {
      id: 'acknowledge',
      method: 'post',
      path: '/v1/acknowledgements',
      summary: 'Report what took effect',
      description: "Without stream_id an entry counts for all of the caller's streams that got the jti.",
      access: { scope: 'ssf.read' },
      body: ACKNOWLEDGEMENTS,
      answers: { 200: { description: 'A result for each entry, in order.', schema: RESULTS } },
    },
    {
      id: 'getTimeToRevoke',
      method: 'get',
      path: '/v1/time-to-revoke',
      summary: 'How long revocations took: one row, or one per group',
      description: 'A receiver sees its own rows only.',
      access: { permission: 'read', scope: 'ssf.read' },
      query: TIME_TO_REVOKE_QUERY,
      answers: {
        200: {
          description: 'The rows, and what they were asked for.',
          schema: closed({
            from: TIME,
            to: TIME,
            stage: { enum: STAGES },
            items: { type: 'array', items: ROW },
          }),
        },
      },
    },
  ],
}
