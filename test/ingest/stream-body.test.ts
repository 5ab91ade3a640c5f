import assert from 'node:assert/strict'
import { parseBody } from '../../src/http/validate.js'
import {
  DELIVERY_SCHEMA,
  type DeliveryBody,
  toStreamMembers,
  toStreamPlan,
} from '../../src/ingest/stream-body.js'
import type { StreamView } from '../../src/ingest/stream-plan.js'
import { InvalidRequest } from '../../src/kernel/errors.js'

const read = (body: unknown) => toStreamPlan(parseBody<DeliveryBody>(DELIVERY_SCHEMA, body))
const poll = (credentials: object) => ({ method: 'poll', credentials })

describe('ingest: the stream of a transmitter in requests and answers', () => {
  it('takes both names of each method (RFC 8935, RFC 8936)', () => {
    const methods = ['push', 'urn:ietf:rfc:8935', 'poll', 'urn:ietf:rfc:8936'].map(
      (method) => read({ method, credentials: { token: 't' } })?.method,
    )
    assert.deepEqual(methods, ['push', 'push', 'poll', 'poll'])
  })

  it('plans no stream for a push without credentials', () => {
    assert.equal(read({ method: 'push' }), null)
    assert.equal(read({ method: 'urn:ietf:rfc:8935' }), null)
  })

  const client = { client_id: 'a b', client_secret: 's' }
  const PLANS: [title: string, body: unknown, plan: object][] = [
    ['a token', poll({ token: 't' }), { method: 'poll', credentials: { token: 't' } }],
    [
      'event types',
      { method: 'push', events_requested: ['a', 'b'], credentials: { token: 't' } },
      { method: 'push', eventsRequested: ['a', 'b'], credentials: { token: 't' } },
    ],
    ['a client', poll(client), { method: 'poll', credentials: { clientId: 'a b', clientSecret: 's' } }],
    [
      'a client with a token endpoint and a scope',
      poll({ ...client, token_endpoint: 'https://as.example/t', scope: 'a b' }),
      {
        method: 'poll',
        credentials: {
          clientId: 'a b',
          clientSecret: 's',
          tokenEndpoint: 'https://as.example/t',
          scope: 'a b',
        },
      },
    ],
    [
      'a client with an authorization server and a way to authenticate',
      poll({
        ...client,
        authorization_server: 'https://as.example',
        token_endpoint_auth_method: 'client_secret_post',
      }),
      {
        method: 'poll',
        credentials: {
          clientId: 'a b',
          clientSecret: 's',
          authorizationServer: 'https://as.example',
          authMethod: 'client_secret_post',
        },
      },
    ],
  ]
  for (const [title, body, plan] of PLANS) {
    it(`plans a stream with ${title}, and nothing that was not sent`, () => {
      assert.deepEqual(read(body), plan)
    })
  }

  const REFUSED: [title: string, body: unknown, says: RegExp][] = [
    ['a poll without credentials', { method: 'poll' }, /delivery.credentials is required/],
    [
      'event types without credentials',
      { method: 'push', events_requested: ['a'] },
      /credentials is required/,
    ],
    ['a token and a client id', poll({ token: 't', client_id: 'c' }), /not both/],
    ['a token and a client secret', poll({ token: 't', client_secret: 's' }), /not both/],
    ['a token and a scope', poll({ token: 't', scope: 's' }), /not both/],
    ['a client id alone', poll({ client_id: 'c' }), /needs a token, or client_id/],
    ['a client secret alone', poll({ client_secret: 's' }), /needs a token, or client_id/],
    [
      'two places of tokens',
      poll({ ...client, token_endpoint: 'https://a.example', authorization_server: 'https://b.example' }),
      /Give token_endpoint or authorization_server/,
    ],
  ]
  for (const [title, body, says] of REFUSED) {
    it(`refuses ${title}`, () => {
      assert.throws(
        () => read(body),
        (error: unknown) => error instanceof InvalidRequest && says.test(error.message),
      )
    })
  }

  it('bounds the texts and lists, each at its limit and one over', () => {
    const types = (count: number) => Array.from({ length: count }, (_, index) => `t${index}`)
    const LIMITS: [max: number, body: (size: number) => unknown][] = [
      [100, (size) => ({ ...poll({ token: 't' }), events_requested: types(size) })],
      [512, (size) => ({ ...poll({ token: 't' }), events_requested: ['a'.repeat(size)] })],
      [4096, (size) => poll({ token: 'a'.repeat(size) })],
      [4096, (size) => poll({ ...client, client_id: 'a'.repeat(size) })],
      [4096, (size) => poll({ ...client, client_secret: 'a'.repeat(size) })],
      [2048, (size) => poll({ ...client, token_endpoint: 'a'.repeat(size) })],
      [2048, (size) => poll({ ...client, authorization_server: 'a'.repeat(size) })],
      [1024, (size) => poll({ ...client, scope: 'a'.repeat(size) })],
    ]
    for (const [max, body] of LIMITS) {
      assert.ok(read(body(max)), JSON.stringify(body(1)))
      for (const size of [0, max + 1])
        assert.throws(() => read(body(size)), InvalidRequest, JSON.stringify(body(1)))
    }
  })

  const VIEW: StreamView = {
    method: 'poll',
    eventsRequested: ['a', 'b'],
    credentials: {},
    phase: 'setup',
    eventsMissing: [],
  }

  it('shows a transmitter without a stream as one that pushes', () => {
    assert.deepEqual(toStreamMembers(undefined), { delivery: { method: 'push' } })
  })

  it('shows null for what a new stream does not have yet', () => {
    assert.deepEqual(toStreamMembers(VIEW), {
      delivery: { method: 'poll', events_requested: ['a', 'b'], credentials: { type: 'token' } },
      stream: {
        state: 'setup',
        stream_id: null,
        audience: null,
        events_delivered: null,
        events_missing: [],
        status: null,
        status_reason: null,
        status_at: null,
        verification_requested_at: null,
        verified_at: null,
        last_poll_at: null,
        last_error: null,
        last_error_at: null,
      },
    })
  })

  it('shows what a stream has, each in its member', () => {
    const credentials = {
      clientId: 'c',
      tokenEndpoint: 'https://as.example/t',
      authorizationServer: 'https://as.example',
      authMethod: 'client_secret_post',
      scope: 'ssf.read',
    }
    const view: StreamView = {
      method: 'push',
      eventsRequested: ['a', 'b'],
      credentials,
      phase: 'active',
      streamId: 's1',
      audience: ['https://hub.example'],
      eventsDelivered: ['a'],
      eventsMissing: ['b'],
      status: 'paused',
      statusReason: 'upkeep',
      statusAt: new Date(1),
      verificationRequestedAt: new Date(2),
      verifiedAt: new Date(3),
      lastPollAt: new Date(4),
      lastError: 'timeout',
      lastErrorAt: new Date(5),
    }
    assert.deepEqual(toStreamMembers(view), {
      delivery: {
        method: 'push',
        events_requested: ['a', 'b'],
        credentials: {
          type: 'client',
          client_id: 'c',
          token_endpoint: 'https://as.example/t',
          authorization_server: 'https://as.example',
          token_endpoint_auth_method: 'client_secret_post',
          scope: 'ssf.read',
        },
      },
      stream: {
        state: 'active',
        stream_id: 's1',
        audience: ['https://hub.example'],
        events_delivered: ['a'],
        events_missing: ['b'],
        status: 'paused',
        status_reason: 'upkeep',
        status_at: '1970-01-01T00:00:00.001Z',
        verification_requested_at: '1970-01-01T00:00:00.002Z',
        verified_at: '1970-01-01T00:00:00.003Z',
        last_poll_at: '1970-01-01T00:00:00.004Z',
        last_error: 'timeout',
        last_error_at: '1970-01-01T00:00:00.005Z',
      },
    })
  })
})
