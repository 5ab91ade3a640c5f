import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import { addReceiver, addStream } from '../support/order-real-hub.js'
import {
  AUDIENCE,
  type ScriptedTransmitter,
  STREAM_UPDATED,
  VERIFICATION,
} from '../support/scripted-transmitter.js'
import { waitUntil } from '../support/wait.js'
import { type HubBelow, startHubBelow } from './hub-below.js'

/** What became of one SET at the transmitter. */
type Fate = 'taken' | { err?: string; description?: string }

describe('upstream: what a transmitter says about the stream (SSF 1.0 §8.1.4, §8.1.5)', function () {
  this.timeout(90_000)
  let below: HubBelow
  let sink: Sink

  before(async () => {
    below = await startHubBelow()
    sink = await startSink()
    const { token } = await addReceiver(below.hub, { name: 'gateway' })
    await addStream(below.hub, token, sink.url, [CAEP.sessionRevoked])
  })
  after(async () => {
    await below?.close()
    await sink?.close()
  })

  async function fateOf(transmitter: ScriptedTransmitter, jti: string): Promise<Fate> {
    return await waitUntil(`the fate of ${jti}`, () => {
      const refused = transmitter.refused.get(jti)
      if (refused) return refused
      const pushed = transmitter.pushed.find((push) => push.jti === jti && push.status !== 503)
      if (transmitter.acked.includes(jti) || pushed?.status === 202) return 'taken' as const
      if (!pushed) return undefined
      assert.equal(pushed.status, 400)
      assert.equal(pushed.contentLanguage, 'en')
      return JSON.parse(pushed.body) as Fate
    })
  }

  for (const method of ['push', 'poll'] as const) {
    describe(`by ${method}`, () => {
      let transmitter: ScriptedTransmitter
      let id: string

      before(async () => {
        transmitter = await below.newTransmitter()
        id = await below.verified(transmitter, method)
      })

      const say = async (type: string, claims: object, set?: Record<string, unknown>): Promise<Fate> =>
        fateOf(transmitter, await transmitter.emit({ type, claims, ...(set && { set }) }))
      const stateOf = (number = 0) => transmitter.called('verify').at(number)?.body.state

      it('asks with a state that nobody can guess (R-51)', async () => {
        assert.match(String(stateOf()), /^fbk_state_[\w-]{43}$/)
        const before = transmitter.called('verify').length
        await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
        await below.until(id, 'it is verified again', ({ verified_at }) => verified_at !== null)
        await waitUntil('it was asked', () => transmitter.called('verify').length === before + 1)
        assert.notEqual(stateOf(-1), stateOf())
      })

      it('refuses a state that is not its own with invalid_state (R-47)', async () => {
        for (const state of ['somebody-elses', '', 7]) {
          const fate = await say(VERIFICATION, { state })
          assert.notEqual(fate, 'taken')
          assert.equal((fate as { err: string }).err, 'invalid_state', String(state))
          assert.ok((fate as { description: string }).description)
        }
      })

      it('takes a repeat of an answer it has had (R-37, R-43)', async () => {
        assert.equal(await say(VERIFICATION, { state: stateOf() }), 'taken')
      })

      it('takes a verification without state, and does not count it as an answer (R-48)', async () => {
        transmitter.react.verify = () => ({ status: 204 })
        const asked = transmitter.called('verify').length
        await below.hub.call('POST', `/v1/transmitters/${id}/verify`, {})
        await waitUntil('it was asked', () => transmitter.called('verify').length > asked)
        assert.equal(await say(VERIFICATION, {}), 'taken')
        assert.equal((await below.read(id)).stream?.verified_at, null)
        // Late, and of whatever order: it is the answer all the same.
        assert.equal(await say(VERIFICATION, { state: stateOf(-1) }), 'taken')
        await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
        delete transmitter.react.verify
      })

      it('refuses a verification of another subject than the stream (R-49)', async () => {
        for (const sub_id of [
          { format: 'opaque', id: 'another-stream' },
          { format: 'email', email: 'a@b.example' },
          undefined,
        ]) {
          const fate = await say(VERIFICATION, { state: stateOf() }, { sub_id })
          assert.equal((fate as { err: string }).err, 'invalid_request', JSON.stringify(sub_id))
        }
      })

      it('takes events before it is verified (R-50)', async () => {
        const early = await below.newTransmitter()
        early.react.verify = () => ({ status: 204 })
        const earlyId = await below.subscribe(early, method)
        await below.until(earlyId, 'it was asked', () => early.called('verify').length > 0)
        const txn = randomUUID()
        await early.emit({ set: { txn } })
        assert.equal((await below.taken(txn)).state, 'accepted')
        assert.equal((await below.read(earlyId)).stream?.verified_at, null)
      })

      it('notes and tells a stream-updated event, and does not fight it (R-52)', async () => {
        assert.equal(await say(STREAM_UPDATED, { status: 'paused', reason: 'maintenance' }), 'taken')
        const stream = await below.until(id, 'it is paused', ({ status }) => status === 'paused')
        assert.equal(stream.status_reason, 'maintenance')
        const warned = below.log.filter(
          ({ level, event }) => level === 'warn' && event === 'upstream.stream_updated',
        )
        assert.ok(warned.some(({ fields }) => fields.transmitter_id === id && fields.status === 'paused'))
        const metrics = await (await fetch(`${below.hub.managementUrl}/metrics`)).text()
        assert.match(metrics, /firebreak_upstream_streams\{state="paused"\} 1/)
        assert.equal(transmitter.called('set-status').length, 0)
        assert.equal(await say(STREAM_UPDATED, { status: 'enabled' }), 'taken')
        const again = await below.until(id, 'it is enabled', ({ status }) => status === 'enabled')
        assert.equal(again.status_reason, null)
      })

      it('believes no stream-updated event about another stream', async () => {
        const claims = { status: 'disabled' }
        assert.equal(
          await say(STREAM_UPDATED, claims, { sub_id: { format: 'opaque', id: 'another' } }),
          'taken',
        )
        assert.equal((await below.read(id)).stream?.status, 'enabled')
      })

      it('fans out events of the stream, and none that is about it', async () => {
        const txn = randomUUID()
        await transmitter.emit({ set: { txn } })
        await waitUntil('the gateway has it', () => sink.received.some(({ claims }) => claims.txn === txn))
        const types = sink.received.flatMap(({ claims }) => Object.keys(claims.events))
        // The gateway's own stream may be verified by the hub; never with what came from above.
        assert.ok(!types.includes(STREAM_UPDATED))
        const states = transmitter.called('verify').map(({ body }) => body.state)
        for (const { claims } of sink.received) {
          assert.ok(!states.includes((claims.events[VERIFICATION] as { state?: string } | undefined)?.state))
        }
      })
    })
  }

  it('takes the first push when it comes before the answer to create (R-40)', async () => {
    const hasty = await below.newTransmitter()
    const txn = randomUUID()
    hasty.react.create = async (_call, usual) => {
      const made = await usual()
      void hasty.emit({ set: { txn } })
      await waitUntil('it was pushed', () => hasty.pushed.length > 0)
      return made
    }
    await below.verified(hasty, 'push')
    assert.equal((await below.taken(txn)).state, 'accepted')
    assert.equal(hasty.pushed[0]?.status, 503, 'it is told to come again, and not refused')
  })

  it('leaves transmitters alone that push by themselves: their verification is taken, and goes nowhere', async () => {
    const plain = await below.newTransmitter()
    const { id } = await below.hub.call<{ id: string }>('POST', '/v1/transmitters', {
      name: 'plain',
      issuer: plain.url,
      discover: true,
      audience: AUDIENCE,
    })
    const set = await plain.sign({
      jti: randomUUID(),
      sub_id: { format: 'opaque', id: 'whatever' },
      events: { [VERIFICATION]: { state: 'theirs' } },
    })
    const answer = await fetch(`${below.hub.url}/ingest/${id}`, { method: 'POST', body: set })
    assert.equal(answer.status, 202)
    await assert.rejects(below.hub.call('POST', `/v1/transmitters/${id}/verify`, {}), /answered 409/)
  })

  it('asks again when no answer comes to a verification, and says so', async () => {
    // Half a minute passes in the row, not in the test.
    const silent = await below.newTransmitter()
    silent.react.verify = () => ({ status: 204 })
    const id = await below.subscribe(silent, 'poll')
    await below.until(id, 'it was asked', () => silent.called('verify').length > 0)
    await below.database
      .db('upstream_streams')
      .where({ transmitter_id: id })
      .update({ verification_requested_at: new Date(Date.now() - 3_600_000) })
    delete silent.react.verify
    await below.until(id, 'it is verified', ({ verified_at }) => verified_at !== null)
    assert.equal(silent.called('verify').length, 2)
    assert.ok(
      below.log.some(
        ({ event, fields }) => event === 'upstream.verification_missing' && fields.transmitter_id === id,
      ),
    )
    assert.equal((await below.read(id)).stream?.last_error, null)
  })
})
