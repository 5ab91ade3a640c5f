import {
  type ApiSection,
  COUNT,
  closed,
  nullable,
  pageOf,
  TEXT,
  TEXT_OR_NULL,
  TIME,
  UUID,
} from '../http/api-description.js'
import { AUDIT_QUERY } from './audit-router.js'

const SEQ = { type: 'integer', minimum: 1 }
const ENTRY = closed(
  {
    id: UUID,
    at: TIME,
    actor: TEXT,
    action: TEXT,
    target: TEXT_OR_NULL,
    detail: { type: 'object', additionalProperties: true },
    seq: { ...nullable(SEQ), description: 'Null until it is sealed, within a second.' },
    hash: { ...TEXT_OR_NULL, description: 'SHA-256, hex.' },
  },
  { title: 'AuditEntry' },
)
const VERDICT = {
  title: 'AuditVerdict',
  oneOf: [
    closed({ ok: { const: true }, rows: COUNT, last_hash: TEXT }),
    closed({
      ok: { const: false },
      seq: SEQ,
      id: nullable(UUID),
      reason: { enum: ['missing', 'changed', 'chain_broken'] },
    }),
  ],
}

const access = { permission: 'audit.read' }

/** Told of `auditRouter`. */
export const AUDIT_API: ApiSection = {
  name: 'Audit',
  description: 'Who did what.',
  routes: [
    {
      id: 'listAuditEntries',
      method: 'get',
      path: '/v1/audit',
      summary: 'Audit rows, newest first',
      access,
      query: AUDIT_QUERY,
      answers: { 200: { description: 'A page of rows.', schema: pageOf(ENTRY) } },
    },
    {
      id: 'verifyAudit',
      method: 'get',
      path: '/v1/audit/verification',
      summary: 'Whether the sealed chain is whole',
      access,
      answers: { 200: { description: 'The verdict, or the first row that does not fit.', schema: VERDICT } },
    },
  ],
}
