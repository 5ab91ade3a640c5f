import assert from 'node:assert/strict'
import request from 'supertest'
import { CAEP } from '../../src/secevent/event-types.js'
import { type SsfHarness, type TestReceiver, UNKNOWN_ID } from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
interface Operation {
  method: Method
  path: string
  /** For the stream named, complete and valid. */
  body?: object
}

const SUBJECT = { format: 'email', email: 'ann@example.com' }

/** Every call that names a stream. */
function operationsOn(stream_id: string): Operation[] {
  return [
    { method: 'get', path: `/ssf/streams?stream_id=${stream_id}` },
    { method: 'patch', path: '/ssf/streams', body: { stream_id, description: 'taken over' } },
    { method: 'put', path: '/ssf/streams', body: { stream_id } },
    { method: 'get', path: `/ssf/status?stream_id=${stream_id}` },
    { method: 'post', path: '/ssf/status', body: { stream_id, status: 'disabled' } },
    { method: 'post', path: '/ssf/subjects/add', body: { stream_id, subject: SUBJECT } },
    { method: 'post', path: '/ssf/subjects/remove', body: { stream_id, subject: SUBJECT } },
    { method: 'post', path: '/ssf/verify', body: { stream_id, state: 'x' } },
    { method: 'delete', path: `/ssf/streams?stream_id=${stream_id}` },
  ]
}

const CREATE: Operation = { method: 'post', path: '/ssf/streams', body: {} }
const title = ({ method, path, body }: Operation) =>
  `${method.toUpperCase()} ${path.split('?')[0]}${body ? '' : ' of one stream'}`

describeSsf('SSF 1.0 §8 authorization of the management API', (place) => {
  let ssf: SsfHarness
  let a: TestReceiver
  let b: TestReceiver
  let stream: string
  before(async () => {
    ssf = await place.open()
    a = await ssf.addReceiver('gateway-a')
    b = await ssf.addReceiver('gateway-b')
    stream = await ssf.createStream(a, { events_requested: [CAEP.sessionRevoked], description: 'of a' })
  })
  after(() => ssf.close())

  for (const [index, operation] of operationsOn(UNKNOWN_ID).entries()) {
    it(`answers ${title(operation)} for another’s stream exactly as for none, and does nothing (T-38)`, async () => {
      const before = await state()
      const foreign = await send(operationsOn(stream)[index] as Operation, b.token)
      const unknown = await send(operation, b.token)
      assert.equal(foreign.status, 404)
      assert.deepEqual(visible(foreign), visible(unknown))
      assert.equal(foreign.headers['cache-control'], 'no-store')
      assert.deepEqual(await state(), before)
    })
  }

  it('lists only the caller’s own streams', async () => {
    const own = await ssf.createStream(b)
    const res = await ssf.call('get', '/ssf/streams', b.token)
    assert.deepEqual(
      res.body.map((item: { stream_id: string }) => item.stream_id),
      [own],
    )
  })

  for (const operation of [CREATE, ...operationsOn(UNKNOWN_ID)]) {
    it(`challenges ${title(operation)} without a token, and with a bad one (T-39, T-41, T-45)`, async () => {
      const bare = await request(ssf.app)[operation.method](operation.path).send(operation.body)
      assert.equal(bare.status, 401)
      assert.match(bare.headers['www-authenticate'] ?? '', /^Bearer/)
      assert.doesNotMatch(bare.headers['www-authenticate'] ?? '', /error=/)
      assert.equal(bare.headers['cache-control'], 'no-store')
      // A deleted or unknown stream with a bad token is 401, not 404.
      const bad = await send(operation, 'nonsense')
      assert.equal(bad.status, 401)
      assert.match(bad.headers['www-authenticate'] ?? '', /error="invalid_token"/)
      const separator = operation.path.includes('?') ? '&' : '?'
      const inQuery = await request(ssf.app)
        [operation.method](`${operation.path}${separator}access_token=${a.token}`)
        .send(operation.body)
      assert.ok([400, 401].includes(inQuery.status))
    })
  }

  for (const operation of [CREATE, ...operationsOn(UNKNOWN_ID)].filter(({ method }) => method !== 'get')) {
    it(`refuses ${title(operation)} with ssf.read alone, before it looks at the body (T-42, T-45)`, async () => {
      const res = await send(operation, a.readToken)
      assert.equal(res.status, 403)
      assert.match(res.headers['www-authenticate'] ?? '', /error="insufficient_scope"/)
      const garbage = await request(ssf.app)
        [operation.method](operation.path)
        .set('Authorization', `Bearer ${a.readToken}`)
        .type('application/json')
        .send('{"x":')
      assert.equal(garbage.status, 403)
    })
  }

  for (const operation of operationsOn(UNKNOWN_ID).filter(({ body }) => body)) {
    it(`answers 400 to ${title(operation)} with a body that cannot be parsed, before the stream (T-45)`, async () => {
      for (const garbage of ['{"stream_id":', 'null', '[]', '"x"', '7', '']) {
        const res = await request(ssf.app)
          [operation.method](operation.path)
          .set('Authorization', `Bearer ${a.token}`)
          .type('application/json')
          .send(garbage)
        assert.equal(res.status, 400, garbage)
        assert.equal(res.headers['cache-control'], 'no-store')
      }
    })
  }

  it('answers 413 to a body beyond 64 KiB', async () => {
    const res = await ssf.call('post', '/ssf/streams', a.token, { description: 'x'.repeat(70_000) })
    assert.equal(res.status, 413)
  })

  function send({ method, path, body }: Operation, token: string) {
    return ssf.call(method, path, token, body)
  }

  /** All that a caller sees and that is not new at each answer. */
  function visible({ status, text, headers }: request.Response) {
    const { date: _date, 'x-request-id': _id, ...lasting } = headers
    return { status, text, headers: lasting }
  }

  async function state(): Promise<object> {
    const read = await ssf.streams.read(a.id, stream)
    const status = await ssf.statuses.read(a.id, stream)
    return {
      read,
      status,
      subjects: await ssf.count('stream_subjects', stream),
      // Two running hubs move on what is logged.
      logged: place.isInside && (await ssf.logged()).length,
    }
  }
})
