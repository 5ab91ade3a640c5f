import assert from 'node:assert/strict'
import { CAEP } from '../../src/secevent/event-types.js'
import type { SsfHarness, TestReceiver } from '../streams/ssf-harness.js'
import { describeSsf } from './ssf-places.js'

const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'
const RISC = 'https://schemas.openid.net/secevent/risc/delivery-method/'
const ENDPOINT = 'https://127.0.0.1:8443/events'
const SUBJECT = { format: 'email', email: 'ann@example.com' }

describeSsf('compatibility switches of a receiver at the SSF endpoints', (place) => {
  let ssf: SsfHarness
  let strict: TestReceiver
  before(async () => {
    ssf = await place.open()
    strict = await ssf.addReceiver('strict')
  })
  after(() => ssf.close())

  describe('answer_200_for_204', () => {
    it('answers 200 with {} where the standard has 204, and changes no other answer', async () => {
      const lenient = await ssf.addReceiver('wants-200', { compatibility: ['answer_200_for_204'] })
      for (const [receiver, status, text] of [
        [strict, 204, ''],
        [lenient, 200, '{}'],
      ] as const) {
        const stream_id = await ssf.createStream(receiver)
        const answers = [
          await ssf.call('post', '/ssf/verify', receiver.token, { stream_id }),
          await ssf.call('post', '/ssf/subjects/remove', receiver.token, { stream_id, subject: SUBJECT }),
          await ssf.call('delete', `/ssf/streams?stream_id=${stream_id}`, receiver.token),
        ]
        for (const res of answers) {
          assert.deepEqual([res.status, res.text], [status, text])
          assert.equal(res.headers['cache-control'], 'no-store')
        }
        const gone = await ssf.call('delete', `/ssf/streams?stream_id=${stream_id}`, receiver.token)
        assert.equal(gone.status, 404)
      }
    })

    place.itInside('leaves 202 to a deletion that is not confirmed', async () => {
      const lenient = await ssf.addReceiver('wants-200-later', { compatibility: ['answer_200_for_204'] })
      const id = await ssf.createStream(lenient)
      ssf.observer.confirms = false
      const res = await ssf.call('delete', `/ssf/streams?stream_id=${id}`, lenient.token)
      ssf.observer.confirms = true
      assert.equal(res.status, 202)
    })
  })

  describe('accept_empty_poll_url', () => {
    it('takes an empty endpoint_url of a poll delivery for none, at create, PATCH and PUT', async () => {
      const lenient = await ssf.addReceiver('sends-empty', { compatibility: ['accept_empty_poll_url'] })
      const delivery = { method: POLL, endpoint_url: '' }
      const created = await ssf.call('post', '/ssf/streams', lenient.token, { delivery })
      assert.equal(created.status, 201)
      assert.ok(created.body.delivery.endpoint_url.endsWith(`/ssf/poll/${created.body.stream_id}`))
      for (const method of ['patch', 'put'] as const) {
        const body = { stream_id: created.body.stream_id, delivery }
        const res = await ssf.call(method, '/ssf/streams', lenient.token, body)
        assert.equal(res.status, 200)
        assert.deepEqual(res.body.delivery, created.body.delivery)
      }
      // A URL is still the hub's to decide, and a push delivery still needs one.
      for (const other of [
        { method: POLL, endpoint_url: ENDPOINT },
        { method: PUSH, endpoint_url: '' },
      ]) {
        assert.equal((await ssf.call('post', '/ssf/streams', lenient.token, { delivery: other })).status, 400)
      }
    })

    it('is refused without the switch, as any endpoint_url that is the hub’s to decide', async () => {
      for (const endpoint_url of ['', ENDPOINT]) {
        const delivery = { method: POLL, endpoint_url }
        const created = await ssf.call('post', '/ssf/streams', strict.token, { delivery })
        assert.equal(created.status, 400)
        assert.match(created.body.message, /endpoint_url/)
        const stream_id = await ssf.createStream(strict)
        for (const method of ['patch', 'put'] as const) {
          const res = await ssf.call(method, '/ssf/streams', strict.token, { stream_id, delivery })
          assert.equal(res.status, 400)
        }
      }
    })
  })

  describe('risc_delivery_methods', () => {
    let old: TestReceiver
    before(async () => {
      old = await ssf.addReceiver('speaks-risc', { compatibility: ['risc_delivery_methods'] })
    })

    const ASKED: [string, object][] = [
      ['delivery_method and url', { delivery_method: `${RISC}push`, url: ENDPOINT }],
      ['method and endpoint_url', { method: `${RISC}push`, endpoint_url: ENDPOINT }],
      ['the URN of the standard', { method: PUSH, endpoint_url: ENDPOINT }],
    ]
    for (const [what, delivery] of ASKED) {
      it(`takes push by ${what}, and shows it in the words of the drafts`, async () => {
        const created = await ssf.call('post', '/ssf/streams', old.token, { delivery })
        assert.equal(created.status, 201, created.text)
        const shown = {
          method: `${RISC}push`,
          delivery_method: `${RISC}push`,
          endpoint_url: ENDPOINT,
          url: ENDPOINT,
        }
        assert.deepEqual(created.body.delivery, shown)
        const { stream_id } = created.body
        const read = await ssf.call('get', `/ssf/streams?stream_id=${stream_id}`, old.token)
        assert.deepEqual(read.body, created.body)
        const listed = await ssf.call('get', '/ssf/streams', old.token)
        const found = listed.body.find((item: { stream_id: string }) => item.stream_id === stream_id)
        assert.deepEqual(found, created.body)
      })
    }

    it('takes poll, and a whole configuration back as it was read', async () => {
      const created = await ssf.call('post', '/ssf/streams', old.token, {
        delivery: { delivery_method: `${RISC}poll` },
        events_requested: [CAEP.sessionRevoked],
      })
      assert.equal(created.status, 201)
      assert.equal(created.body.delivery.delivery_method, `${RISC}poll`)
      assert.ok(created.body.delivery.url.endsWith(`/ssf/poll/${created.body.stream_id}`))
      for (const method of ['put', 'patch'] as const) {
        const res = await ssf.call(method, '/ssf/streams', old.token, created.body)
        assert.equal(res.status, 200, res.text)
        assert.deepEqual(res.body, created.body)
      }
    })

    it('still refuses what is no delivery method, and a push without a URL', async () => {
      for (const delivery of [
        { delivery_method: `${RISC}carrier-pigeon` },
        { delivery_method: `${RISC}push` },
        { delivery_method: 7 },
        {},
        'x',
        null,
      ]) {
        assert.equal((await ssf.call('post', '/ssf/streams', old.token, { delivery })).status, 400)
      }
    })

    it('is unknown to a receiver without the switch', async () => {
      for (const [, delivery] of ASKED.slice(0, 2)) {
        assert.equal((await ssf.call('post', '/ssf/streams', strict.token, { delivery })).status, 400)
      }
    })
  })
})
