import assert from 'node:assert/strict'
import { describeError, InvalidRequest } from '../../src/kernel/errors.js'
import { METHOD_URI } from '../../src/streams/stream.js'
import {
  parseCreate,
  parseEdit,
  parseStatus,
  parseSubjectChange,
  parseVerification,
} from '../../src/streams/stream-requests.js'

const ENDPOINT = 'https://receiver.example/events'
const push = (extra: object = {}) => ({
  delivery: { method: METHOD_URI.push, endpoint_url: ENDPOINT, ...extra },
})
const header = (value: string) => parseCreate(push({ authorization_header: value })).delivery

describe('requests about streams (SSF 1.0 §8.1)', () => {
  const LONG = 'https://receiver.example/'
  const LIMITS: [title: string, send: (length: number) => unknown, most: number][] = [
    [
      'an endpoint_url',
      (length) => parseCreate(push({ endpoint_url: LONG + 'x'.repeat(length - LONG.length) })),
      2_048,
    ],
    ['an authorization_header', (length) => header('x'.repeat(length)), 8_192],
    [
      'a list of requested events',
      (length) => parseCreate({ events_requested: Array.from({ length }, (_, index) => `urn:x:${index}`) }),
      1_000,
    ],
    [
      'a requested event',
      (length) => parseEdit({ stream_id: 's', events_requested: ['x'.repeat(length)] }),
      2_048,
    ],
    ['the stream_id of a change', (length) => parseEdit({ stream_id: 'x'.repeat(length) }), 200],
    [
      'the stream_id of a status',
      (length) => parseStatus({ stream_id: 'x'.repeat(length), status: 'paused' }),
      200,
    ],
    [
      'the stream_id of a subject',
      (length) => parseSubjectChange({ stream_id: 'x'.repeat(length), subject: {} }),
      200,
    ],
    [
      'the stream_id of a verification',
      (length) => parseVerification({ stream_id: 'x'.repeat(length) }),
      200,
    ],
    [
      'the reason of a status',
      (length) => parseStatus({ stream_id: 's', status: 'paused', reason: 'x'.repeat(length) }),
      1_000,
    ],
    [
      'the state of a verification',
      (length) => parseVerification({ stream_id: 's', state: 'x'.repeat(length) }),
      4_096,
    ],
  ]
  for (const [title, send, most] of LIMITS) {
    it(`take ${title} of ${most}, and not of one more`, () => {
      send(most)
      assert.throws(() => send(most + 1), InvalidRequest)
    })
  }

  it('refuse a stream_id that is empty', () => {
    const status = 'paused'
    for (const send of [parseEdit, parseStatus, parseSubjectChange, parseVerification]) {
      send({ stream_id: 's', subject: {}, status })
      assert.throws(() => send({ stream_id: '', subject: {}, status }), InvalidRequest)
      assert.throws(() => send({ subject: {}, status }), InvalidRequest)
    }
  })

  it('leave out what was not said, and keep what was said to be empty', () => {
    assert.deepEqual(parseCreate({}), {})
    assert.deepEqual(parseCreate({ events_requested: [], description: '' }), {
      eventsRequested: [],
      description: '',
    })
    assert.deepEqual(parseCreate(push()), { delivery: { method: 'push', endpointUrl: ENDPOINT } })
    assert.deepEqual(parseStatus({ stream_id: 's', status: 'enabled', reason: '' }).reason, '')
    assert.deepEqual(parseVerification({ stream_id: 's', state: '' }).state, '')
  })

  it('cut a description after 1,000 characters, and not before', () => {
    const cut = (description: string) => parseCreate({ description }).description
    assert.equal(cut('x'.repeat(1_000)), 'x'.repeat(1_000))
    assert.equal(cut(`${'x'.repeat(1_000)}y`), 'x'.repeat(1_000))
    assert.equal(cut(`${'x'.repeat(999)}😀y`), `${'x'.repeat(999)}😀`)
  })

  const DECIDED = [
    'stream_id',
    'iss',
    'aud',
    'events_supported',
    'events_delivered',
    'min_verification_interval',
    'inactivity_timeout',
  ]
  for (const name of DECIDED) {
    it(`refuse ${name} in a new stream, also null, and name it (§8.1.1.1)`, () => {
      for (const value of ['x', null]) {
        assert.throws(
          () => parseCreate({ [name]: value }),
          (error) => error instanceof InvalidRequest && describeError(error).includes(name),
        )
      }
    })
  }

  it('refuse a poll URL in a new stream, and pass it on as a claim in a change (§6.1.2)', () => {
    const delivery = { method: METHOD_URI.poll, endpoint_url: ENDPOINT }
    assert.throws(() => parseCreate({ delivery }), InvalidRequest)
    const { edit } = parseEdit({ stream_id: 's', delivery, aud: ['a'] })
    assert.deepEqual(edit.choice, { delivery: { method: 'poll' } })
    assert.equal(edit.claimed.poll_endpoint_url, ENDPOINT)
    assert.deepEqual(edit.claimed.aud, ['a'])
    assert.equal(parseEdit({ stream_id: 's', ...push() }).edit.claimed.poll_endpoint_url, undefined)
  })

  const HEADERS: [sent: string, kept: string][] = [
    ['Bearer x', 'Bearer x'],
    ['  Bearer x ', 'Bearer x'],
    ['Authorization: Bearer x', 'Bearer x'],
    [' AUTHORIZATION:Bearer x', 'Bearer x'],
    ['Basic authorization: x', 'Basic authorization: x'],
    ['x', 'x'],
    ['a\tb ~!', 'a\tb ~!'],
  ]
  for (const [sent, kept] of HEADERS) {
    it(`keep ${JSON.stringify(sent)} as the value ${JSON.stringify(kept)} (§6.1.1)`, () => {
      assert.deepEqual(header(sent), { method: 'push', endpointUrl: ENDPOINT, authorizationHeader: kept })
    })
  }
  for (const sent of ['', ' ', 'Authorization:', 'a\nb', 'a\r\nHost: b', 'é', 'a\u007fb', 'a\u001fb']) {
    it(`refuse ${JSON.stringify(sent)} as authorization_header`, () => {
      assert.throws(() => header(sent), InvalidRequest)
    })
  }

  it('take a subject as verified unless it is said not to be (§8.1.3.2)', () => {
    const said = (extra: object) => parseSubjectChange({ stream_id: 's', subject: {}, ...extra }).verified
    assert.deepEqual([said({}), said({ verified: true }), said({ verified: false })], [true, true, false])
  })
})
