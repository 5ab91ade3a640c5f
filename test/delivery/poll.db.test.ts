import assert from 'node:assert/strict'
import type express from 'express'
import request from 'supertest'
import { InvalidToken } from '../../src/auth/bearer.js'
import type { Compatibility } from '../../src/auth/compatibility.js'
import { pollRouter } from '../../src/delivery/poll-router.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { assertRefusal } from '../spec/refusals/assert-refusal.js'
import { INVALID_TOKEN } from '../spec/refusals/refusal.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'

interface PollBody {
  sets: Record<string, string>
  moreAvailable?: boolean
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
    txn: string
    jti: string
  }

const REFUSED_POLL = { title: 'a held poll', method: 'POST', path: '/ssf/poll/{stream_id}' }

describe('poll delivery (RFC 8936)', () => {
  let hub: DeliveryHarness
  let receiverId: string
  let streamId: string
  let app: express.Express
  let checkAccess: () => unknown
  let compatibility: Compatibility

  beforeEach(async () => {
    checkAccess = () => {}
    compatibility = []
    hub = await startDelivery()
    receiverId = await hub.addReceiver()
    streamId = await hub.addStream({ receiverId })
    const authorize: express.RequestHandler = (req, res, next) => {
      res.locals.receiver = { receiverId: req.get('x-receiver') ?? receiverId, compatibility }
      next()
    }
    app = createApp({
      logger: silentLogger,
      mount: (shell) =>
        void shell.use(
          '/ssf/poll',
          pollRouter({
            polls: hub.delivery.polls,
            authorize,
            checkAccess: async () => void (await checkAccess()),
          }),
        ),
    })
  })
  afterEach(() => hub.close())

  async function poll(body: object): Promise<PollBody> {
    const answer = await request(app).post(`/ssf/poll/${streamId}`).send(body)
    assert.equal(answer.status, 200, answer.text)
    return answer.body as PollBody
  }
  const now = { returnImmediately: true }

  it('answers 200 with empty sets when there is nothing', async () => {
    assert.deepEqual(await poll(now), { sets: {} })
    assert.deepEqual(await poll({ maxEvents: 0 }), { sets: {} })
  })

  it('hands a SET out until it is acknowledged, and never in the answer to its own ack', async () => {
    const event = hub.event()
    await hub.fanOut([event])
    const first = await poll(now)
    const [jti = ''] = Object.keys(first.sets)
    assert.equal(claimsOf(first.sets[jti] as string).txn, event.txn)
    assert.equal(claimsOf(first.sets[jti] as string).jti, jti)
    assert.deepEqual(Object.keys((await poll(now)).sets), [jti])
    assert.deepEqual(await poll({ ...now, ack: [jti, 'unknown-jti'] }), { sets: {} })
    const [row] = await hub.rows<{ outcome: string; received: boolean }>(
      'select outcome, received_at is not null as received from deliveries',
    )
    assert.deepEqual(row, { outcome: 'received', received: true })
  })

  it('honours maxEvents and says when more are available, urgent ones first', async () => {
    const routine = hub.event({ type: CAEP.sessionEstablished })
    const urgent = hub.event()
    await hub.fanOut([routine, urgent])
    const first = await poll({ ...now, maxEvents: 1 })
    assert.equal(first.moreAvailable, true)
    assert.deepEqual(
      Object.values(first.sets).map((token) => claimsOf(token).txn),
      [urgent.txn],
    )
    const second = await poll({ ...now, maxEvents: 1, ack: Object.keys(first.sets) })
    assert.equal(second.moreAvailable, undefined)
    assert.deepEqual(
      Object.values(second.sets).map((token) => claimsOf(token).txn),
      [routine.txn],
    )
  })

  it('never says moreAvailable to a receiver with omit_more_available', async () => {
    await hub.fanOut([hub.event(), hub.event()])
    compatibility = ['omit_more_available']
    const answer = await poll({ ...now, maxEvents: 1 })
    assert.deepEqual(Object.keys(answer), ['sets'])
    assert.equal(Object.keys(answer.sets).length, 1)
  })

  it('reads max_events with accept_max_events, and not without', async () => {
    await hub.fanOut([hub.event(), hub.event(), hub.event()])
    const countOf = async (body: object) => Object.keys((await poll({ ...now, ...body })).sets).length
    assert.equal(await countOf({ max_events: 1 }), 3)
    compatibility = ['accept_max_events']
    assert.equal(await countOf({ max_events: 1 }), 1)
    assert.equal(await countOf({ max_events: 0 }), 0)
    assert.equal(await countOf({ max_events: 1, maxEvents: 2 }), 2)
    assert.equal(await countOf({}), 3)
    for (const body of [{ max_events: -1 }, { max_events: '1' }]) {
      const answer = await request(app).post(`/ssf/poll/${streamId}`).send(body)
      assert.equal(answer.status, 400)
      assert.match(answer.body.message, /maxEvents/)
    }
  })

  it('holds a long poll until a SET comes', async () => {
    const answer = poll({})
    await waitUntil('the held poll', async () => true)
    const event = hub.event()
    await hub.fanOut([event])
    const { sets } = await answer
    assert.deepEqual(
      Object.values(sets).map((token) => claimsOf(token).txn),
      [event.txn],
    )
  })

  it('ends a held poll whose token has ended, before it hands anything out', async () => {
    checkAccess = () => {
      throw new InvalidToken()
    }
    // The next look of the held poll, at the latest after two seconds, asks who calls before anything else.
    const { status, headers, text } = await request(app).post(`/ssf/poll/${streamId}`).send({})
    assertRefusal(
      { status, headers: new Headers(headers), text },
      { ...REFUSED_POLL, status: 401, code: 'ERR_INVALID_TOKEN', challenge: INVALID_TOKEN },
    )
  })

  it('ends a held poll whose stream is deleted with 404', async () => {
    checkAccess = () => hub.rows('delete from streams where stream_id = ?', [streamId])
    const { status, headers, text } = await request(app).post(`/ssf/poll/${streamId}`).send({})
    assertRefusal(
      { status, headers: new Headers(headers), text },
      { ...REFUSED_POLL, status: 404, code: 'ERR_NOT_FOUND' },
    )
  })

  it('answers the oldest poll of a stream when too many are held', async () => {
    const polls = Array.from({ length: 5 }, () => poll({}))
    assert.deepEqual(await Promise.race(polls), { sets: {} })
    hub.delivery.polls.drain()
    await Promise.all(polls)
  })

  it('answers held polls at once when the hub drains', async () => {
    const answer = poll({})
    const timer = setInterval(() => hub.delivery.polls.drain(), 50)
    assert.deepEqual(await answer, { sets: {} })
    clearInterval(timer)
  })

  it('takes the acks of a request that is long elsewhere', async () => {
    await hub.fanOut([hub.event()])
    const [jti = ''] = Object.keys((await poll(now)).sets)
    const ack = [jti, 'x'.repeat(300), ...Array.from({ length: 10_001 }, (_, number) => `unknown-${number}`)]
    const setErrs = { unknown: { err: 'invalid_key', description: 'x'.repeat(2_001) } }
    assert.deepEqual(await poll({ ...now, ack, setErrs }), { sets: {} })
  })

  it('parks what the receiver reports in setErrs, and hands it out no more', async () => {
    await hub.fanOut([hub.event()])
    const [jti = ''] = Object.keys((await poll(now)).sets)
    const setErrs = { [jti]: { err: 'invalid_audience', description: 'not mine' } }
    assert.deepEqual(await poll({ ...now, setErrs }), { sets: {} })
    const [parked] = await hub.rows<{ code: string; reason: string }>('select code, reason from parked')
    assert.deepEqual(parked, { code: 'invalid_audience', reason: 'invalid_audience: not mine' })
  })

  it('never puts two opposite events of one subject into one answer', async () => {
    const device = (status: string) => ({
      type: CAEP.deviceComplianceChange,
      claims: { previous_status: 'compliant', current_status: status },
    })
    const tightening = hub.event(device('not-compliant'))
    const loosening = hub.event({
      ...device('compliant'),
      claims: { previous_status: 'not-compliant', current_status: 'compliant' },
    })
    await hub.fanOut([tightening, loosening])
    const first = await poll(now)
    assert.deepEqual(
      Object.values(first.sets).map((token) => claimsOf(token).txn),
      [tightening.txn],
    )
    const second = await poll({ ...now, ack: Object.keys(first.sets) })
    assert.deepEqual(
      Object.values(second.sets).map((token) => claimsOf(token).txn),
      [loosening.txn],
    )
  })

  it('never hands out a loosening event that a newer tightening one overtook', async () => {
    const stale = hub.event({
      type: CAEP.deviceComplianceChange,
      claims: { previous_status: 'not-compliant', current_status: 'compliant' },
    })
    const newer = hub.event()
    await hub.fanOut([newer])
    await hub.fanOut([stale])
    const { sets } = await poll(now)
    assert.deepEqual(
      Object.values(sets).map((token) => claimsOf(token).txn),
      [newer.txn],
    )
    const [row] = await hub.rows<{ outcome: string }>('select outcome from deliveries')
    assert.equal(row?.outcome, 'superseded')
  })

  it('hands out nothing while paused, but takes acks', async () => {
    await hub.fanOut([hub.event()])
    const [jti = ''] = Object.keys((await poll(now)).sets)
    await hub.rows(`update streams set status = 'paused' where stream_id = ?`, [streamId])
    assert.deepEqual(await poll(now), { sets: {} })
    assert.deepEqual(await poll({ ...now, ack: [jti] }), { sets: {} })
    assert.equal((await hub.rows('select 1 from deliveries')).length, 1)
  })

  it('answers 404 for a stream of another receiver, and takes none of its acks', async () => {
    await hub.fanOut([hub.event()])
    const [jti = ''] = Object.keys((await poll(now)).sets)
    const stranger = await hub.addReceiver()
    const answer = await request(app)
      .post(`/ssf/poll/${streamId}`)
      .set('x-receiver', stranger)
      .send({ ...now, ack: [jti] })
    assert.equal(answer.status, 404)
    assert.deepEqual(Object.keys((await poll(now)).sets), [jti])
  })

  const wrong: [string, object | string][] = [
    ['maxEvents below zero', { maxEvents: -1 }],
    ['maxEvents that is no whole number', { maxEvents: 1.5 }],
    ['maxEvents as text', { maxEvents: '5' }],
    ['returnImmediately as text', { returnImmediately: 'true' }],
    ['ack that is no array', { ack: 'x' }],
    ['ack of numbers', { ack: [1] }],
    ['setErrs that is an array', { setErrs: [] }],
    ['setErrs without err', { setErrs: { a: { description: 'x' } } }],
    ['a body that is no object', '[]'],
    ['a cut-off body', '{"ack": ['],
  ]
  for (const [title, body] of wrong) {
    it(`refuses ${title} with a clear 400`, async () => {
      const answer = await request(app)
        .post(`/ssf/poll/${streamId}`)
        .set('Content-Type', 'application/json')
        .send(typeof body === 'string' ? body : JSON.stringify(body))
      assert.equal(answer.status, 400)
      assert.match(answer.body.code, /^ERR_/)
      assert.ok(answer.body.message.length > 10)
    })
  }
})
