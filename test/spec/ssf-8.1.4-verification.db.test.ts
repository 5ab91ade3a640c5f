import assert from 'node:assert/strict'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'
import { SSF } from '../../src/secevent/event-types.js'
import {
  createSsfHarness,
  ISSUER,
  type SsfHarness,
  type TestReceiver,
  UNKNOWN_ID,
} from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

describeSsf('SSF 1.0 §8.1.4 verification', (place) => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await place.open()
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())
  beforeEach(async () => {
    if (!place.isInside) return
    ssf.wakes.length = 0
    await ssf.db('event_log').delete()
  })

  const verify = (body: object) => ssf.call('post', '/ssf/verify', a.token, body)

  place.itInside(
    'answers 204 once the event is durable, and echoes state exactly (T-72, T-73, T-74)',
    async () => {
      const id = await ssf.createStream(a)
      const state = ' VGhpcyBpcyBh "quotes" \\ é😀\n'
      const res = await verify({ stream_id: id, state })
      assert.equal(res.status, 204)
      assert.equal(res.text, '')
      assert.equal(res.headers['cache-control'], 'no-store')
      const [event, ...rest] = await ssf.logged()
      assert.deepEqual(rest, [])
      assert.equal(event?.type, SSF.verification)
      assert.deepEqual(event?.claims, { state })
      assert.deepEqual(event?.subject, { format: 'opaque', id })
      assert.equal(event?.targetStreamId, id)
      assert.equal(event?.sourceId, HUB_SOURCE_ID)
      assert.equal(event?.sourceIssuer, ISSUER)
      assert.deepEqual(ssf.wakes, [['urgent']])
    },
  )

  place.itInside('carries no state when none was given, and the empty one when that was (T-73)', async () => {
    const id = await ssf.createStream(a)
    await verify({ stream_id: id })
    await verify({ stream_id: id, state: '' })
    await ssf.verifications.requestByHub(id, 'operator:test')
    assert.deepEqual(
      (await ssf.logged()).map((event) => event.claims),
      [{}, { state: '' }, {}],
    )
  })

  place.itInside(
    'reaches its stream and no other, whatever types and subjects are asked for (T-71, T-77)',
    async () => {
      const none = await ssf.addReceiver('takes-none', { defaultSubjects: 'NONE', eventTypes: [] })
      const id = await ssf.createStream(none, { events_requested: [] })
      await ssf.createStream(none)
      await ssf.verifications.request(none.id, id, 's')
      const takers = await ssf.match(await ssf.logged())
      assert.deepEqual(
        takers.map((taker) => [taker.streamId, taker.method]),
        [[id, 'poll']],
      )
    },
  )

  place.itInside(
    'is accepted while paused, and kept; while disabled it is accepted and ends there (T-63)',
    async () => {
      const id = await ssf.createStream(a)
      await ssf.statuses.setStatus(a.id, id, { status: 'paused' })
      assert.equal((await verify({ stream_id: id, state: 'p' })).status, 204)
      assert.equal((await ssf.logged()).length, 1)
      await ssf.statuses.setStatus(a.id, id, { status: 'disabled' })
      assert.equal((await verify({ stream_id: id, state: 'd' })).status, 204)
      assert.equal((await ssf.logged()).length, 1)
    },
  )

  place.itInside('advertises an interval and answers 429 with Retry-After within it (T-76)', async () => {
    const slow = await createSsfHarness({ minVerificationIntervalS: 30 })
    const receiver = await slow.addReceiver('slow')
    const created = await slow.call('post', '/ssf/streams', receiver.token, {})
    assert.equal(created.body.min_verification_interval, 30)
    const [id, other] = [created.body.stream_id as string, await slow.createStream(receiver)]
    const verifySlow = (stream: string) =>
      slow.call('post', '/ssf/verify', receiver.token, { stream_id: stream, state: 'x' })
    assert.equal((await verifySlow(id)).status, 204)
    const refused = await verifySlow(id)
    assert.equal(refused.status, 429)
    assert.equal(refused.body.code, 'ERR_VERIFICATION_TOO_SOON')
    assert.ok(Number(refused.headers['retry-after']) > 25 && Number(refused.headers['retry-after']) <= 30)
    // Per stream, and over once the interval has passed.
    assert.equal((await verifySlow(other)).status, 204)
    await slow.db('streams').update({ verification_requested_at: new Date(Date.now() - 31_000) })
    assert.equal((await verifySlow(id)).status, 204)
    assert.equal((await slow.logged()).length, 3)
    await slow.close()
  })

  place.itInside('lets one of many simultaneous requests pass', async () => {
    const slow = await createSsfHarness({ minVerificationIntervalS: 30 })
    const receiver = await slow.addReceiver('slow')
    const id = await slow.createStream(receiver)
    const results = await Promise.all(
      Array.from({ length: 5 }, () => slow.call('post', '/ssf/verify', receiver.token, { stream_id: id })),
    )
    assert.deepEqual(results.map((res) => res.status).sort(), [204, 429, 429, 429, 429])
    assert.equal((await slow.logged()).length, 1)
    await slow.close()
  })

  it('advertises no interval where none is enforced', async () => {
    const res = await ssf.call('post', '/ssf/streams', a.token, {})
    assert.ok(!('min_verification_interval' in res.body))
  })

  it('answers 400 to a bad body and 404 for an unknown stream', async () => {
    const id = await ssf.createStream(a)
    for (const body of [
      {},
      { state: 'x' },
      { stream_id: 1 },
      { stream_id: id, state: 7 },
      { stream_id: id, state: null },
    ]) {
      assert.equal((await verify(body)).status, 400)
    }
    assert.equal((await verify({ stream_id: id, state: '\ud800' })).status, 400)
    assert.equal((await verify({ stream_id: id, state: 'x'.repeat(5000) })).status, 400)
    assert.equal((await verify({ stream_id: UNKNOWN_ID, state: 7 })).status, 400)
    assert.equal((await verify({ stream_id: UNKNOWN_ID })).status, 404)
    assert.equal((await verify({ stream_id: 'x' })).status, 404)
    if (place.isInside) assert.deepEqual(await ssf.logged(), [])
  })
})
