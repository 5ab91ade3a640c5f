import {
  type ApiSection,
  closed,
  nullable,
  pageOf,
  TEXT,
  TEXT_OR_NULL,
  TIME,
  TIME_OR_NULL,
  UUID,
} from '../http/api-description.js'
import { ALERT_KINDS, SEVERITIES } from './alert.js'
import { ALERTS_QUERY } from './alert-router.js'

const ALERT = closed(
  {
    id: UUID,
    kind: { enum: ALERT_KINDS },
    object: { ...TEXT, description: 'What it is about, such as `stream:<id>`.' },
    severity: { enum: SEVERITIES },
    state: { enum: ['open', 'resolved'] },
    summary: TEXT,
    detail: { type: 'object', additionalProperties: true },
    opened_at: TIME,
    last_seen_at: TIME,
    resolved_at: TIME_OR_NULL,
    reopened: {
      type: 'integer',
      minimum: 0,
      description: 'How often it was over in the hour before it was opened.',
    },
  },
  { title: 'Alert' },
)
const TOLD = nullable(
  closed({
    delivered: { type: 'boolean' },
    status: nullable({ type: 'integer' }),
    failure: TEXT_OR_NULL,
  }),
)
const TEST = closed({ notice_id: TEXT, webhook: TOLD, log: TOLD }, { title: 'AlertTest' })

/** Told of `alertRouter`. */
export const ALERT_API: ApiSection = {
  name: 'Alerts',
  description: 'What a person should look at.',
  routes: [
    {
      id: 'listAlerts',
      method: 'get',
      path: '/v1/alerts',
      summary: 'Alerts, newest first; those that are open unless state says otherwise',
      access: { permission: 'read' },
      query: ALERTS_QUERY,
      answers: { 200: { description: 'A page of alerts.', schema: pageOf(ALERT) } },
    },
    {
      id: 'testAlerts',
      method: 'post',
      path: '/v1/alerts/test',
      summary: 'Tell a test alert by every way out',
      access: { permission: 'alerts.test' },
      answers: {
        200: { description: 'How it went; null for a way that is not configured.', schema: TEST },
      },
      errors: { 409: ['ERR_CONFLICT'] },
    },
  ],
}
