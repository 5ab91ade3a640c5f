import type { Request } from 'express'
import { isUuid } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import { InvalidRequest } from '../kernel/errors.js'
import { present } from '../kernel/present.js'
import {
  type DeliveryChoice,
  METHOD_URI,
  STREAM_STATUSES,
  type StreamChoice,
  type StreamStatus,
} from './stream.js'
import type { ClaimedConfiguration } from './stream-configuration.js'
import { StreamNotFound } from './stream-errors.js'
import type { StreamEdit } from './stream-service.js'

const MAX_DESCRIPTION_CHARS = 1_000
const MAX_REASON_CHARS = 1_000
const MAX_STATE_CHARS = 4_096

const STREAM_ID = { type: 'string', minLength: 1, maxLength: 200 } as const

const RECEIVER_SUPPLIED = {
  events_requested: { type: 'array', maxItems: 1_000, items: { type: 'string', maxLength: 2_048 } },
  description: { type: 'string' },
  delivery: {
    type: 'object',
    required: ['method'],
    properties: {
      method: { type: 'string', enum: Object.values(METHOD_URI) },
      endpoint_url: { type: 'string', maxLength: 2_048 },
      authorization_header: { type: 'string', minLength: 1, maxLength: 8_192 },
    },
  },
} as const

/** Members that nobody defined are ignored (SSF 1.0 §4.2.3), so these schemas are open. */
export const NEW_STREAM = { type: 'object', properties: RECEIVER_SUPPLIED } as const
export const STREAM_CHANGE = {
  type: 'object',
  required: ['stream_id'],
  properties: { ...RECEIVER_SUPPLIED, stream_id: STREAM_ID },
} as const

interface ConfigurationBody {
  stream_id: string
  events_requested?: string[]
  description?: string
  delivery?: { method: string; endpoint_url?: string; authorization_header?: string }
  iss?: unknown
  aud?: unknown
  events_supported?: unknown
  events_delivered?: unknown
  min_verification_interval?: unknown
  inactivity_timeout?: unknown
}

const TRANSMITTER_SUPPLIED = [
  'stream_id',
  'iss',
  'aud',
  'events_supported',
  'events_delivered',
  'min_verification_interval',
  'inactivity_timeout',
] as const

/** SSF 1.0 §8.1.1.1: only receiver-supplied members, since there is nothing yet that others could equal. */
export function parseCreate(body: unknown): Partial<StreamChoice> {
  const parsed = parseBody<ConfigurationBody>(NEW_STREAM, body)
  const refused = TRANSMITTER_SUPPLIED.filter((name) => Object.hasOwn(parsed, name))
  if (refused.length > 0) {
    throw new InvalidRequest(`The hub decides these; leave them out of a new stream: ${refused.join(', ')}.`)
  }
  if (parsed.delivery?.method === METHOD_URI.poll && parsed.delivery.endpoint_url !== undefined) {
    throw new InvalidRequest(
      'The hub decides the endpoint_url of a poll delivery; leave it out of a new stream.',
    )
  }
  return toChoice(parsed)
}

/** SSF 1.0 §8.1.1.3, §8.1.1.4. */
export function parseEdit(body: unknown): { streamId: string; edit: StreamEdit } {
  const parsed = parseBody<ConfigurationBody>(STREAM_CHANGE, body)
  const { iss, aud, events_supported, events_delivered, min_verification_interval, inactivity_timeout } =
    parsed
  const claimed: ClaimedConfiguration = {
    iss,
    aud,
    events_supported,
    events_delivered,
    min_verification_interval,
    inactivity_timeout,
    poll_endpoint_url: parsed.delivery?.method === METHOD_URI.poll ? parsed.delivery.endpoint_url : undefined,
  }
  // Shape first, stream after (docs/conformance.md T-45): a body that cannot be used is 400 whatever the id.
  const edit = { choice: toChoice(parsed), claimed }
  return { streamId: parsed.stream_id, edit }
}

function toChoice(body: ConfigurationBody): Partial<StreamChoice> {
  return present({
    delivery: body.delivery && toDelivery(body.delivery),
    eventsRequested: body.events_requested,
    description: body.description && truncate(body.description),
  })
}

function toDelivery(delivery: NonNullable<ConfigurationBody['delivery']>): DeliveryChoice {
  // A poll stream's URL is the transmitter's; whether one that was sent back is right, the service decides.
  if (delivery.method === METHOD_URI.poll) return { method: 'poll' }
  if (!delivery.endpoint_url) throw new InvalidRequest('A push delivery needs an endpoint_url.')
  return {
    method: 'push',
    endpointUrl: delivery.endpoint_url,
    ...present({
      authorizationHeader: delivery.authorization_header && toHeaderValue(delivery.authorization_header),
    }),
  }
}

/** SSF 1.0 §6.1.1 speaks of the value, yet some send the whole line (issues 223, 258). */
function toHeaderValue(header: string): string {
  const value = header.replace(/^\s*authorization:/i, '').trim()
  if (!/^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
    throw new InvalidRequest(
      'authorization_header must be the value of an HTTP header: printable ASCII on one line.',
    )
  }
  return value
}

/** SSF 1.0 §8.1.1 allows to truncate; by code points, so that no character is cut in two. */
function truncate(text: string): string {
  return [...text].slice(0, MAX_DESCRIPTION_CHARS).join('')
}

export const STATUS_CHANGE = {
  type: 'object',
  required: ['stream_id', 'status'],
  properties: {
    stream_id: STREAM_ID,
    status: { type: 'string', enum: STREAM_STATUSES },
    reason: { type: 'string', maxLength: MAX_REASON_CHARS },
  },
} as const

/** SSF 1.0 §8.1.2.2. */
export function parseStatus(body: unknown): {
  streamId: string
  status: StreamStatus
  reason: string | undefined
} {
  const { stream_id, status, reason } = parseBody<{
    stream_id: string
    status: StreamStatus
    reason?: string
  }>(STATUS_CHANGE, body)
  return { streamId: stream_id, status, reason }
}

export const VERIFICATION_REQUEST = {
  type: 'object',
  required: ['stream_id'],
  properties: { stream_id: STREAM_ID, state: { type: 'string', maxLength: MAX_STATE_CHARS } },
} as const

/** SSF 1.0 §8.1.4.2. */
export function parseVerification(body: unknown): { streamId: string; state: string | undefined } {
  const { stream_id, state } = parseBody<{ stream_id: string; state?: string }>(VERIFICATION_REQUEST, body)
  return { streamId: stream_id, state }
}

export const SUBJECT_CHANGE = {
  type: 'object',
  required: ['stream_id', 'subject'],
  properties: { stream_id: STREAM_ID, subject: { type: 'object' }, verified: { type: 'boolean' } },
} as const

/** SSF 1.0 §8.1.3.2, §8.1.3.3. An absent `verified` means verified. */
export function parseSubjectChange(body: unknown): { streamId: string; subject: unknown; verified: boolean } {
  const parsed = parseBody<{ stream_id: string; subject: unknown; verified?: boolean }>(SUBJECT_CHANGE, body)
  return { streamId: parsed.stream_id, subject: parsed.subject, verified: parsed.verified ?? true }
}

/** `?stream_id=`, once and not empty; undefined when it is not there. */
export function optionalStreamId(req: Request): string | undefined {
  const value = req.query.stream_id
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value === '') {
    throw new InvalidRequest('Send one stream_id in the query, not empty.')
  }
  return value
}

export function requiredStreamId(req: Request): string {
  const value = optionalStreamId(req)
  if (value === undefined) throw new InvalidRequest('Send the stream_id in the query: ?stream_id=….')
  return value
}

/** Text that is no id of ours names no stream; asked after all else has been checked (docs/conformance.md T-45). */
export function knownForm(streamId: string): string {
  if (!isUuid(streamId)) throw new StreamNotFound()
  return streamId
}
