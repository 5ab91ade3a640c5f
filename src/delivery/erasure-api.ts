import {
  type ApiSection,
  COUNT,
  closed,
  pageOf,
  TEXT,
  TIME,
  TIME_OR_NULL,
  UUID,
} from '../http/api-description.js'
import { PAGE_QUERY } from '../http/page.js'
import { ERASURE_REQUEST } from './erasure-router.js'

const ERASURE = closed(
  {
    id: UUID,
    state: {
      enum: ['running', 'waiting', 'done'],
      description: 'Waiting: for the event log, or for receivers that are still owed events of the person.',
    },
    step: { enum: ['log', 'events', 'subjects', 'parked', 'held', 'done'] },
    subject_hash: { ...TEXT, description: 'HMAC of the subject: what the audit log names it by.' },
    reason: TEXT,
    force: { type: 'boolean' },
    requested_by: TEXT,
    requested_at: TIME,
    finished_at: TIME_OR_NULL,
    events_seen: { ...COUNT, description: 'Events looked at, whoever they are about.' },
    events_erased: COUNT,
    events_owed: COUNT,
    deliveries_discarded: COUNT,
    subjects_erased: COUNT,
    records_erased: COUNT,
    not_reached: { type: 'array', items: TEXT },
  },
  { title: 'Erasure' },
)

const look = { permission: 'audit.read' }

/** Told of `erasureRouter`. */
export const ERASURE_API: ApiSection = {
  name: 'Subjects',
  description: 'Erasing a person from what the hub holds.',
  routes: [
    {
      id: 'eraseSubject',
      method: 'post',
      path: '/v1/subjects/erase',
      summary: 'Make the identifiers of a person unreadable',
      description:
        'Events that are still owed to a receiver are erased once they are received; force ends them, which may lose a revocation.',
      access: { permission: 'subjects.erase' },
      body: ERASURE_REQUEST,
      answers: {
        202: { description: 'The erasure, or the one of this subject that is under way.', schema: ERASURE },
      },
      errors: { 400: ['ERR_INVALID_SUBJECT'] },
    },
    {
      id: 'listErasures',
      method: 'get',
      path: '/v1/subjects/erasures',
      summary: 'Erasures, newest first',
      access: look,
      query: PAGE_QUERY,
      answers: { 200: { description: 'A page of erasures.', schema: pageOf(ERASURE) } },
    },
    {
      id: 'getErasure',
      method: 'get',
      path: '/v1/subjects/erasures/{id}',
      summary: 'One erasure',
      access: look,
      answers: { 200: { description: 'The erasure.', schema: ERASURE } },
    },
  ],
}
