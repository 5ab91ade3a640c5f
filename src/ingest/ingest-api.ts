import { type ApiSection, closed, TEXT } from '../http/api-description.js'

/** RFC 8935 §2.3. */
const SET_ERROR = closed(
  {
    err: {
      enum: [
        'invalid_request',
        'invalid_key',
        'invalid_issuer',
        'invalid_audience',
        'invalid_state',
        'authentication_failed',
      ],
    },
    description: TEXT,
  },
  { title: 'SetError' },
)

/** Told of `createIngestHandler`. @param issuerPath the endpoint stands below it */
export function ingestApi(issuerPath: string): ApiSection {
  return {
    name: 'Ingest',
    description: 'Where upstream transmitters push SETs (RFC 8935).',
    routes: [
      {
        id: 'pushSet',
        method: 'post',
        path: `${issuerPath}/ingest/{transmitter_id}`,
        summary: 'Push one SET',
        description:
          'The Content-Type is not looked at. A repeat is 202 again and has no second effect. Claims are as the schema security-event-token says, with more members allowed.',
        access: 'transmitter',
        body: { type: 'string', description: 'A SET in compact form (RFC 8417), of 64 KiB at most.' },
        bodyType: 'application/secevent+jwt',
        answers: {
          202: { description: 'The event is durable.' },
          400: { description: 'The SET cannot be parsed, verified or stored.', schema: SET_ERROR },
          401: {
            description: 'The Authorization header is not the registered one.',
            schema: SET_ERROR,
            headers: { 'WWW-Authenticate': 'The challenge.' },
          },
          413: { description: 'The SET is too large.', schema: SET_ERROR },
        },
        errors: {
          404: ['ERR_NOT_FOUND'],
          405: ['ERR_METHOD_NOT_ALLOWED'],
          408: ['ERR_TOO_SLOW'],
          429: ['ERR_TOO_MANY_REQUESTS'],
          503: ['ERR_KEYS_UNAVAILABLE', 'ERR_LOG_UNAVAILABLE'],
        },
      },
    ],
  }
}
