import assert from 'node:assert/strict'
import { SSF } from '../../src/secevent/event-types.js'
import { type SsfHarness, type TestReceiver, UNKNOWN_ID } from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

describeSsf('SSF 1.0 §8.1.2 stream status', (place) => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await place.open()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())
  beforeEach(async () => {
    if (!place.isInside) return
    ssf.observer.confirms = true
    ssf.observer.changed.length = 0
    await ssf.db('event_log').delete()
  })

  const set = (body: object) => ssf.call('post', '/ssf/status', a.token, body)
  const read = (id: string, token = a.token) => ssf.call('get', `/ssf/status?stream_id=${id}`, token)

  it('is enabled on a new stream and readable with ssf.read (T-59)', async () => {
    const id = await ssf.createStream(a)
    const res = await read(id, a.readToken)
    assert.equal(res.status, 200)
    assert.equal(res.headers['cache-control'], 'no-store')
    assert.deepEqual(res.body, { stream_id: id, status: 'enabled' })
  })

  it('is set and read back with its reason, and the reason goes with the next change', async () => {
    const id = await ssf.createStream(a)
    const paused = await set({ stream_id: id, status: 'paused', reason: 'maintenance' })
    assert.equal(paused.status, 200)
    assert.equal(paused.headers['cache-control'], 'no-store')
    assert.deepEqual(paused.body, { stream_id: id, status: 'paused', reason: 'maintenance' })
    assert.deepEqual((await read(id)).body, paused.body)
    const enabled = await set({ stream_id: id, status: 'enabled' })
    assert.deepEqual(enabled.body, { stream_id: id, status: 'enabled' })
    assert.deepEqual((await read(id)).body, enabled.body)
  })

  it('answers 200 when the value is already so (T-59)', async () => {
    const id = await ssf.createStream(a)
    for (const status of ['enabled', 'paused', 'paused', 'disabled', 'disabled', 'enabled']) {
      const res = await set({ stream_id: id, status })
      assert.equal(res.status, 200)
      assert.equal(res.body.status, status)
    }
  })

  place.itInside(
    'answers 202 to a stop that the sender has not confirmed, and 200 when asked again after it has',
    async () => {
      const id = await ssf.createStream(a)
      ssf.observer.confirms = false
      const first = await set({ stream_id: id, status: 'paused' })
      assert.equal(first.status, 202)
      assert.deepEqual(first.body, { stream_id: id, status: 'paused' })
      ssf.observer.confirms = true
      assert.equal((await set({ stream_id: id, status: 'paused' })).status, 200)
      assert.deepEqual(ssf.observer.changed, [id, id])
    },
  )

  place.itInside('answers 200 to enabling at once, for it takes nothing back', async () => {
    const id = await ssf.createStream(a)
    await set({ stream_id: id, status: 'paused' })
    ssf.observer.confirms = false
    assert.equal((await set({ stream_id: id, status: 'enabled' })).status, 200)
  })

  it('holds open work while paused and drops it when disabled, reversibly (T-61, T-62)', async () => {
    const id = await ssf.createStream(a)
    await ssf.queueDelivery(a, id)
    await set({ stream_id: id, status: 'paused' })
    assert.equal(await ssf.count('delivery_queue', id), 1)
    await set({ stream_id: id, status: 'disabled' })
    assert.equal(await ssf.count('delivery_queue', id), 0)
    // What a fan-out under way at that moment still inserted is not sent after enabling either.
    await ssf.queueDelivery(a, id)
    await set({ stream_id: id, status: 'enabled' })
    assert.equal(await ssf.count('delivery_queue', id), 0)
    assert.equal((await read(id)).body.status, 'enabled')
  })

  place.itInside('sends no stream-updated for what the receiver asked itself (T-64)', async () => {
    const id = await ssf.createStream(a)
    for (const status of ['paused', 'disabled', 'enabled']) await set({ stream_id: id, status })
    assert.deepEqual(await ssf.logged(), [])
  })

  const BAD: Record<string, object> = {
    'another status': { status: 'stopped' },
    'a status in capitals': { status: 'Paused' },
    'a status that is null': { status: null },
    'no status': {},
    'a reason that is no string': { status: 'paused', reason: 5 },
    'U+0000 in the reason': { status: 'paused', reason: '\u0000' },
    'a reason without end': { status: 'paused', reason: 'x'.repeat(1001) },
  }
  for (const [what, body] of Object.entries(BAD)) {
    it(`answers 400 to ${what} and changes nothing`, async () => {
      const id = await ssf.createStream(a)
      assert.equal((await set({ stream_id: id, ...body })).status, 400)
      assert.equal((await read(id)).body.status, 'enabled')
    })
  }

  it('answers 400 without stream_id and 404 for an unknown one', async () => {
    assert.equal((await set({ status: 'paused' })).status, 400)
    assert.equal((await ssf.call('get', '/ssf/status', a.token)).status, 400)
    for (const id of [UNKNOWN_ID, 'x']) {
      assert.equal((await set({ stream_id: id, status: 'paused' })).status, 404)
      assert.equal((await read(id)).status, 404)
      // What is wrong with the body comes before what is wrong with the id (T-45).
      assert.equal((await set({ stream_id: id, status: 'x' })).status, 400)
    }
  })

  describe('§8.1.5 set by the hub (T-64, T-78)', () => {
    const takers = async () => ssf.match(await ssf.logged())

    place.itInside('says so by stream-updated before it stops, in the same transaction', async () => {
      const id = await ssf.createStream(a)
      const result = await ssf.statuses.setStatusByHub(id, 'paused', 'endpoint fails')
      assert.equal(result.changed, true)
      const [event, ...rest] = await ssf.logged()
      assert.deepEqual(rest, [])
      assert.equal(event?.type, SSF.streamUpdated)
      assert.deepEqual(event?.claims, { status: 'paused', reason: 'endpoint fails' })
      assert.deepEqual(event?.subject, { format: 'opaque', id })
      assert.equal(event?.targetStreamId, id)
      assert.deepEqual((await read(id)).body, { stream_id: id, status: 'paused', reason: 'endpoint fails' })
    })

    place.itInside('still reaches the stream that it disabled, where nothing else does', async () => {
      const id = await ssf.createStream(a)
      await ssf.statuses.setStatusByHub(id, 'disabled', 'abuse')
      assert.deepEqual(
        (await takers()).map((taker) => taker.streamId),
        [id],
      )
      await ssf.verifications.request(a.id, id, 'x')
      assert.equal((await ssf.logged()).length, 1)
    })

    place.itInside(
      'does not go out any more once the receiver itself has stopped the stream (T-60)',
      async () => {
        const id = await ssf.createStream(a)
        await ssf.statuses.setStatusByHub(id, 'paused', 'endpoint fails')
        await set({ stream_id: id, status: 'disabled' })
        assert.deepEqual(await takers(), [])
      },
    )

    place.itInside('says so again when it enables the stream', async () => {
      const id = await ssf.createStream(a)
      await ssf.statuses.setStatusByHub(id, 'paused', 'endpoint fails')
      await ssf.statuses.setStatusByHub(id, 'enabled', undefined)
      assert.deepEqual(
        (await ssf.logged()).map((event) => event.claims),
        [{ status: 'paused', reason: 'endpoint fails' }, { status: 'enabled' }],
      )
    })

    place.itInside('is nothing new when the status is so already', async () => {
      const id = await ssf.createStream(a)
      assert.equal((await ssf.statuses.setStatusByHub(id, 'enabled', undefined)).changed, false)
      assert.deepEqual(await ssf.logged(), [])
    })

    place.itInside('never enables what the receiver or an operator stopped', async () => {
      const id = await ssf.createStream(a)
      await set({ stream_id: id, status: 'paused' })
      assert.equal((await ssf.statuses.setStatusByHub(id, 'enabled', undefined)).changed, false)
      assert.equal((await read(id)).body.status, 'paused')
    })

    place.itInside('can be undone by the receiver', async () => {
      const id = await ssf.createStream(a)
      await ssf.statuses.setStatusByHub(id, 'paused', 'endpoint fails')
      assert.equal((await set({ stream_id: id, status: 'enabled' })).status, 200)
      assert.deepEqual((await read(id)).body, { stream_id: id, status: 'enabled' })
    })
  })
})
