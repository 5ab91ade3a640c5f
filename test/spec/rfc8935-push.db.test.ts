import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { type Received, type Sink, startSink } from '../delivery/delivery-harness.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'

interface Delivery {
  state: string
  attempts: number
  failure: string | null
}

/** RFC 8935 §2.4, and SSF 1.0 §8.1.4.1. */
const REFUSALS = [
  'invalid_request',
  'invalid_key',
  'invalid_issuer',
  'invalid_audience',
  'authentication_failed',
  'access_denied',
  'invalid_state',
]

describe('RFC 8935 §2 and SSF 1.0 §6.1.1 push delivery, two hubs behind one address', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let sinks: Sink[]
  before(async () => {
    hubs = await sharedTwoHubs()
  })
  beforeEach(() => {
    sinks = []
  })
  afterEach(() => Promise.all(sinks.map((sink) => sink.close())))

  async function call<T>(method: string, path: string, body?: object, token = hubs.adminToken): Promise<T> {
    const response = await fetch(hubs.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${text}`)
    return (text ? JSON.parse(text) : undefined) as T
  }

  async function openSink(): Promise<Sink> {
    const sink = await startSink()
    sinks.push(sink)
    return sink
  }

  /** A receiver, and its stream to a sink of its own. */
  async function addStream({ delivery, ...settings }: { delivery?: object; compatibility?: object } = {}) {
    const sink = await openSink()
    const { id: receiver } = await call<{ id: string }>('POST', '/v1/receivers', {
      name: randomUUID(),
      ...settings,
    })
    const tokens = `/v1/receivers/${receiver}/tokens`
    const { token } = await call<{ token: string }>('POST', tokens, { scopes: ['ssf.manage'] })
    const { stream_id: id } = await call<{ stream_id: string }>(
      'POST',
      '/ssf/streams',
      {
        events_requested: Object.values(CAEP),
        delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: sink.url, ...delivery },
      },
      token,
    )
    return { sink, id, token }
  }

  async function emit(user: string = randomUUID()): Promise<string> {
    const { txn } = await call<{ txn: string }>('POST', '/v1/events', {
      type: CAEP.sessionRevoked,
      sub_id: { format: 'email', email: `${user}@example.com` },
      event: {},
      event_timestamp: 1_790_000_000,
    })
    return txn
  }

  const of = (sink: Sink, txn: string) => sink.received.filter(({ claims }) => claims.txn === txn)
  const typed = (sink: Sink, type: string) => sink.received.filter(({ claims }) => type in claims.events)

  async function deliveryOf(txn: string, id: string): Promise<Delivery | undefined> {
    const { items } = await call<{ items: Delivery[] }>('GET', `/v1/deliveries?txn=${txn}&stream_id=${id}`)
    return items[0]
  }

  /** Until the delivery of this event is at its end, or parked. */
  async function settled(txn: string, id: string): Promise<Delivery> {
    let delivery: Delivery | undefined
    await waitUntil('the delivery has ended', async () => {
      delivery = await deliveryOf(txn, id)
      return delivery !== undefined && !['queued', 'delivered'].includes(delivery.state)
    })
    return delivery as Delivery
  }

  it('posts one SET, compact and alone, with the types of the standard (T-81)', async () => {
    const { sink, id } = await addStream()
    const txn = await emit()
    assert.equal((await settled(txn, id)).state, 'received')
    const [request, ...more] = of(sink, txn)
    assert.deepEqual(more, [])
    assert.equal(request?.method, 'POST')
    assert.equal(request?.headers['content-type'], 'application/secevent+jwt')
    assert.equal(request?.headers.accept, 'application/json')
    assert.match(request?.body ?? '', /^[\w-]+\.[\w-]+\.[\w-]+$/)
  })

  it('sends authorization_header as it was given with every request, and none where none was given (T-82)', async () => {
    const secret = 'Basic  odd spacing=='
    const { sink, id, token } = await addStream({ delivery: { authorization_header: secret } })
    const bare = await addStream()
    let failing = true
    sink.answer = (_request, res) => void res.writeHead(failing ? 500 : 202).end()
    const txn = await emit()
    await waitUntil('a first try', () => of(sink, txn).length > 0)
    failing = false
    await settled(txn, id)
    await call('POST', '/ssf/verify', { stream_id: id, state: 's' }, token)
    await waitUntil('the verification', () => typed(sink, SSF.verification).length > 0)
    assert.ok(of(sink, txn).length >= 2)
    for (const { headers } of sink.received) assert.equal(headers.authorization, secret)
    await settled(txn, bare.id)
    for (const { headers } of bare.sink.received) assert.ok(!('authorization' in headers))

    const delivery = { method: 'urn:ietf:rfc:8935', endpoint_url: sink.url }
    await call('PATCH', '/ssf/streams', { stream_id: id, delivery }, token)
    const after = await emit()
    await settled(after, id)
    for (const { headers } of of(sink, after)) assert.ok(!('authorization' in headers))
  })

  it('takes 202 alone for receipt, and any 2xx from a receiver with accept_any_2xx (T-83)', async () => {
    const strict = await addStream()
    const lenient = await addStream({ compatibility: { accept_any_2xx: true } })
    let status = 200
    for (const { sink } of [strict, lenient]) {
      sink.answer = (_request, res) => void res.writeHead(status).end()
    }
    const txn = await emit()
    assert.deepEqual(await settled(txn, lenient.id).then(({ state }) => state), 'received')
    await waitUntil('another try', () => of(strict.sink, txn).length > 1)
    assert.notEqual((await deliveryOf(txn, strict.id))?.state, 'received')
    status = 202
    assert.equal((await settled(txn, strict.id)).state, 'received')
    assert.equal(of(lenient.sink, txn).length, 1)
  })

  for (const err of REFUSALS) {
    it(`records ${err} with its description, and does not send that SET again (T-84)`, async () => {
      const { sink, id } = await addStream()
      sink.answer = (_request, res) =>
        void res
          .writeHead(400, { 'content-type': 'application/json' })
          .end(JSON.stringify({ err, description: 'why' }))
      const txn = await emit()
      const { state } = await settled(txn, id)
      assert.equal(state, 'parked')
      const parked = await call<{ items: { code: string; reason: string }[] }>(
        'GET',
        `/v1/parked?txn=${txn}&stream_id=${id}`,
      )
      assert.deepEqual(
        parked.items.map(({ code, reason }) => [code, reason]),
        [[err, `${err}: why`]],
      )
      sink.answer = (_request, res) => void res.writeHead(202).end()
      await settled(await emit(), id)
      assert.equal(of(sink, txn).length, 1)
    })
  }

  for (const status of [429, 500, 503]) {
    it(`sends the same SET again after ${status} (T-85)`, async () => {
      const { sink, id } = await addStream()
      let left = 1
      sink.answer = (_request, res) => {
        if (left === 0) return void res.writeHead(202).end()
        left -= 1
        res.writeHead(status, { 'retry-after': '1' }).end()
      }
      const txn = await emit()
      const { state, attempts } = await settled(txn, id)
      assert.deepEqual([state, attempts], ['received', 2])
      const [one, two] = of(sink, txn) as [Received, Received]
      assert.deepEqual(one.claims, two.claims)
    })
  }

  it('follows no redirect (T-86)', async () => {
    const { sink, id } = await addStream()
    const elsewhere = await openSink()
    let redirects = true
    sink.answer = (_request, res) =>
      void (redirects ? res.writeHead(307, { location: elsewhere.url }) : res.writeHead(202)).end()
    const txn = await emit()
    await waitUntil('the redirect', () => of(sink, txn).length > 0)
    redirects = false
    await settled(txn, id)
    assert.deepEqual(elsewhere.received, [])
  })

  it('keeps the order of one subject (T-88)', async () => {
    const { sink, id } = await addStream()
    const user = randomUUID()
    const txns: string[] = []
    for (let count = 0; count < 5; count += 1) txns.push(await emit(user))
    for (const txn of txns) await settled(txn, id)
    const firsts = [...new Set(sink.received.map(({ claims }) => claims.txn))]
    assert.deepEqual(
      firsts.filter((txn) => txns.includes(txn)),
      txns,
    )
  })

  it('sends nothing newer of a subject while an older SET of it is under way, and all else meanwhile (T-88)', async () => {
    const { sink, id } = await addStream()
    const user = randomUUID()
    const isOfUser = ({ claims }: Received) => JSON.stringify(claims.sub_id).includes(user)
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    sink.answer = async (request, res) => {
      if (isOfUser(request)) await released
      res.writeHead(202).end()
    }
    const txns: string[] = []
    for (let count = 0; count < 3; count += 1) txns.push(await emit(user))
    const other = await emit()
    assert.equal((await settled(other, id)).state, 'received')
    await waitUntil('the oldest', () => sink.received.some(isOfUser))
    const underWay = new Set(sink.received.filter(isOfUser).map(({ claims }) => claims.txn))
    assert.deepEqual([...underWay], txns.slice(0, 1))
    release()
    for (const txn of txns) assert.equal((await settled(txn, id)).state, 'received')
    assert.deepEqual([...new Set(sink.received.filter(isOfUser).map(({ claims }) => claims.txn))], txns)
  })

  it('tries nothing again while the stream is paused, and goes on when it is enabled (T-60)', async () => {
    const { sink, id, token } = await addStream()
    const failing = (sets: Sink) => {
      sets.answer = (_request, res) => void res.writeHead(503, { 'retry-after': '1' }).end()
    }
    failing(sink)
    const txn = await emit()
    await waitUntil('a first try', () => of(sink, txn).length > 0)
    await waitUntil('the pause holds', async () => {
      const response = await fetch(`${hubs.url}/ssf/status`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
        body: JSON.stringify({ stream_id: id, status: 'paused' }),
      })
      await response.arrayBuffer()
      return response.status === 200
    })
    const tries = of(sink, txn).length
    // When a stream that fails in the same way has tried twice more, the time of this one has passed.
    const witness = await addStream()
    failing(witness.sink)
    const later = await emit()
    await waitUntil('two more tries elsewhere', () => of(witness.sink, later).length > 2)
    assert.equal(of(sink, txn).length, tries)
    for (const each of [sink, witness.sink]) each.answer = (_request, res) => void res.writeHead(202).end()
    await call('POST', '/ssf/status', { stream_id: id, status: 'enabled' }, token)
    assert.equal((await settled(txn, id)).state, 'received')
    assert.equal(of(sink, txn).length, tries + 1)
  })

  it('sends nothing while the receiver has paused the stream, then what was held; nothing of while it was disabled (T-60 to T-62)', async () => {
    const { sink, id, token } = await addStream()
    const other = await addStream()
    const set = (status: string) => call('POST', '/ssf/status', { stream_id: id, status }, token)
    await set('paused')
    const held = await emit()
    await waitUntil('it is queued', async () => (await deliveryOf(held, id))?.state === 'queued')
    await set('disabled')
    // One fan-out is for all streams: what another has got, this one was asked about.
    await settled(await emit(), other.id)
    await set('enabled')
    await set('paused')
    const kept = await emit()
    await waitUntil('it is queued', async () => (await deliveryOf(kept, id))?.state === 'queued')
    assert.equal(sink.received.length, 0)
    await set('enabled')
    const last = await emit()
    await settled(last, id)
    assert.equal((await settled(kept, id)).state, 'received')
    assert.deepEqual(sink.received.map(({ claims }) => claims.txn).sort(), [kept, last].sort())
  })

  it('says by stream-updated that an operator stopped the stream, before it goes silent, and when it goes on (T-64)', async () => {
    const { sink, id } = await addStream()
    const updates = () => typed(sink, SSF.streamUpdated).map(({ claims }) => claims.events[SSF.streamUpdated])
    await call('POST', `/v1/streams/${id}/pause`, { reason: 'maintenance' })
    await waitUntil('the notice', () => updates().length > 0)
    const held = await emit()
    await waitUntil('it is queued', async () => (await deliveryOf(held, id))?.state === 'queued')
    assert.deepEqual(updates(), [{ status: 'paused', reason: 'maintenance' }])
    await call('POST', `/v1/streams/${id}/enable`, {})
    await settled(held, id)
    await waitUntil('the second notice', () => updates().length > 1)
    assert.deepEqual(updates()[1], { status: 'enabled' })
  })

  it('is no activity of the receiver (T-79)', async () => {
    const { id } = await addStream()
    const activeAt = async () => (await call<{ active_at: string }>('GET', `/v1/streams/${id}`)).active_at
    const before = await activeAt()
    await settled(await emit(), id)
    assert.equal(await activeAt(), before)
  })
})
