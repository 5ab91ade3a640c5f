import { type ApiRoute, closed, nullable, TEXT, TIME, UUID } from '../http/api-description.js'
import { STREAM_TLS } from './stream-tls-router.js'

const CERTIFICATE = closed(
  { subject: TEXT, issuer: TEXT, not_after: TIME, fingerprint_sha256: TEXT },
  { title: 'Certificate' },
)
const TLS = closed(
  {
    stream_id: UUID,
    origin: { ...TEXT, description: 'Scheme, host and port that it is for.' },
    in_use: { type: 'boolean', description: 'False while the endpoint of the stream is elsewhere.' },
    ca: { type: 'array', items: CERTIFICATE, description: 'Empty: the authorities of the system.' },
    client_certificate: nullable(CERTIFICATE),
    updated_at: TIME,
  },
  { title: 'StreamTls' },
)

const path = '/v1/streams/{id}/tls'
const errors = { 404: ['ERR_STREAM_NOT_FOUND', 'ERR_STREAM_TLS_NOT_FOUND'] }

/** Told of `streamTlsRouter`. */
export const STREAM_TLS_ROUTES: readonly ApiRoute[] = [
  {
    id: 'getStreamTls',
    method: 'get',
    path,
    summary: 'Whom the hub believes, and what it shows, when it pushes to a stream',
    access: { permission: 'read' },
    answers: { 200: { description: 'The setting, without the key.', schema: TLS } },
    errors,
  },
  {
    id: 'putStreamTls',
    method: 'put',
    path,
    summary: 'Give a push stream authorities of its own, a client certificate, or both',
    description: 'In place of what there is. It is for the origin that the endpoint_url has now.',
    access: { permission: 'streams.manage' },
    body: STREAM_TLS,
    answers: {
      200: { description: 'It holds for attempts from now on.', schema: TLS },
      202: { description: 'It is set; the process that sends has not confirmed within 1 s.', schema: TLS },
    },
    errors: { 404: ['ERR_STREAM_NOT_FOUND'], 409: ['ERR_CONFLICT'] },
  },
  {
    id: 'deleteStreamTls',
    method: 'delete',
    path,
    summary: 'Go by the authorities of the system again, and show no certificate',
    access: { permission: 'streams.manage' },
    answers: { 204: { description: 'It is gone.' } },
    errors,
  },
]
