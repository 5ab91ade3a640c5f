import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { createFrameworkEvents } from '../../src/streams/framework-events.js'
import type { StreamStatus } from '../../src/streams/stream.js'
import { createStreamStatusService } from '../../src/streams/stream-status-service.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from '../delivery/delivery-harness.js'
import { waitUntil } from '../support/wait.js'

const TYPES = [CAEP.credentialChange, CAEP.sessionEstablished, CAEP.deviceComplianceChange]
const of = (name: string) => ({ subject: { format: 'email' as const, email: `${name}@example.com` } })
/** Neutral and routine, and one that tightens and is urgent. */
const CREATE = { type: CAEP.credentialChange, claims: { change_type: 'create' } }
const REVOKE = { type: CAEP.credentialChange, claims: { change_type: 'revoke' } }
const COMPLIANT = { type: CAEP.deviceComplianceChange, claims: { current_status: 'compliant' } }
const NOT_COMPLIANT = { type: CAEP.deviceComplianceChange, claims: { current_status: 'not-compliant' } }
const ESTABLISHED = { type: CAEP.sessionEstablished, claims: {} }

describe('SSF 1.0 §8.1.2.1 order of what was held while paused', () => {
  let hub: DeliveryHarness
  let sink: Sink
  let receiverId: string
  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())
  beforeEach(async () => {
    sink = await startSink()
    receiverId = await hub.addReceiver()
  })
  afterEach(() => sink.close())

  function statuses() {
    const { db, delivery } = hub
    return createStreamStatusService({
      db,
      events: createFrameworkEvents({
        issuer: 'http://127.0.0.1:8080',
        log: { async appendIn() {}, wake() {} },
        nextEventId: newId,
      }),
      observer: delivery,
      openWork: delivery,
      audit: { async record() {} },
      settings: {},
    })
  }
  const set = (streamId: string, status: StreamStatus) =>
    statuses().setStatus(receiverId, streamId, { status })
  const operate = (streamId: string, status: StreamStatus) =>
    statuses().setStatusByHub(streamId, status, undefined, { by: 'operator', actor: 'operator:test' })

  const addPush = () => hub.addStream({ receiverId, endpointUrl: sink.url, types: TYPES })
  const addPoll = () => hub.addStream({ receiverId, types: TYPES })
  const txnsOf = (events: readonly SecurityEvent[]) => events.map(({ txn }) => txn)
  const pushed = () => sink.received.map(({ claims }) => claims.txn)

  async function poll(streamId: string, maxEvents?: number): Promise<string[]> {
    const request = { returnImmediately: true, ...(maxEvents && { maxEvents }) }
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    const { sets } = await hub.delivery.polls.poll(receiverId, streamId, request, call)
    const ack = Object.keys(sets)
    await hub.delivery.polls.poll(receiverId, streamId, { ack, maxEvents: 0 }, call)
    return Object.values(sets).map(
      (set) => JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString('utf8')).txn as string,
    )
  }

  for (const [who, change] of [
    ['the receiver', set],
    ['an operator', operate],
  ] as const) {
    it(`pushes a creation before the later revocation of its subject when ${who} lets the stream go on (T-61, T-88)`, async () => {
      const id = await addPush()
      await change(id, 'paused')
      const held = [CREATE, REVOKE, ESTABLISHED].map((one) => hub.event({ ...one, ...of('ann') }))
      await hub.fanOut(held)
      await change(id, 'enabled')
      await waitUntil('all', () => pushed().length >= held.length)
      assert.deepEqual(pushed(), txnsOf(held))
    })

    it(`gives polls a creation before the later revocation of its subject when ${who} lets the stream go on (T-61, T-97)`, async () => {
      const id = await addPoll()
      await change(id, 'paused')
      const held = [CREATE, REVOKE, ESTABLISHED].map((one) => hub.event({ ...one, ...of('ann') }))
      await hub.fanOut(held)
      assert.deepEqual(await poll(id), [])
      await change(id, 'enabled')
      assert.deepEqual([await poll(id, 1), await poll(id, 1), await poll(id, 1)].flat(), txnsOf(held))
    })
  }

  it('gives polls nothing that is newer than an all-clear which waits for the acknowledgement of what it lifts (T-61)', async () => {
    const id = await addPoll()
    await set(id, 'paused')
    const held = [NOT_COMPLIANT, COMPLIANT, ESTABLISHED].map((one) => hub.event({ ...one, ...of('ann') }))
    const another = hub.event({ ...ESTABLISHED, ...of('bob') })
    await hub.fanOut([...held, another])
    await set(id, 'enabled')
    const [first, ...rest] = txnsOf(held)
    assert.deepEqual([await poll(id), await poll(id)], [[first, another.txn], rest])
  })

  it('lets the revocation of one subject overtake what was held of another', async () => {
    const id = await addPoll()
    await set(id, 'paused')
    const [created, revoked] = [
      hub.event({ ...CREATE, ...of('ann') }),
      hub.event({ ...REVOKE, ...of('bob') }),
    ]
    await hub.fanOut([created, revoked])
    await set(id, 'enabled')
    assert.deepEqual([await poll(id, 1), await poll(id, 1)].flat(), txnsOf([revoked, created]))
  })

  for (const [what, later] of [
    ['the revocation', REVOKE],
    ['an event of its own lane', ESTABLISHED],
  ] as const) {
    it(`tries a creation again before ${what} that came during the pause, when the receiver asked for a later try (T-61)`, async () => {
      const id = await addPush()
      sink.answer = (_request, res) => void res.writeHead(503, { 'Retry-After': '3600' }).end()
      const created = hub.event({ ...CREATE, ...of('ann') })
      await hub.fanOut([created])
      await waitUntil('it waits for another try', async () => {
        const waits = 'select 1 from delivery_queue where stream_id = ? and attempts = 1'
        return (await hub.rows(waits, [id])).length > 0
      })
      await set(id, 'paused')
      sink.answer = (_request, res) => void res.writeHead(202).end()
      const newer = hub.event({ ...later, ...of('ann') })
      await hub.fanOut([newer])
      await set(id, 'enabled')
      await waitUntil('the newer one', () => pushed().includes(newer.txn))
      assert.deepEqual(pushed(), txnsOf([created, created, newer]))
    })
  }

  for (const [what, status, body, outcomes] of [
    ['taken', 202, '', ['received', 'received']],
    ['refused', 400, '{"err":"invalid_request"}', ['parked', 'received']],
  ] as const) {
    it(`sends a creation once that was under way over the whole of a pause, and is ${what} after it (T-61)`, async () => {
      const id = await addPush()
      let finish: (() => void) | undefined
      sink.answer = (_request, res) => {
        finish = () => void res.writeHead(status, { 'Content-Type': 'application/json' }).end(body)
        sink.answer = (_next, later) => void later.writeHead(202).end()
      }
      const held = [CREATE, REVOKE].map((one) => hub.event({ ...one, ...of('ann') }))
      await hub.fanOut(held.slice(0, 1))
      await waitUntil('it is under way', () => finish !== undefined)
      // Neither waits for the attempt longer than a second: both are confirmed to nobody.
      const paused = set(id, 'paused')
      const inDatabase = (status: string) => async () => {
        const rows = await hub.rows('select 1 from streams where stream_id = ? and status = ?', [id, status])
        return rows.length > 0
      }
      await waitUntil('paused', inDatabase('paused'))
      await hub.fanOut(held.slice(1))
      const enabled = set(id, 'enabled')
      await waitUntil('enabled', inDatabase('enabled'))
      finish?.()
      await Promise.all([paused, enabled])
      await waitUntil('nothing is open', async () => {
        return (await hub.rows('select 1 from delivery_queue where stream_id = ?', [id])).length === 0
      })
      assert.deepEqual(pushed(), txnsOf(held))
      const ended = await hub.rows<{ outcome: string }>(
        `select event_id, outcome from deliveries where stream_id = ?
         union all select event_id, 'parked' from parked where stream_id = ? order by event_id`,
        [id, id],
      )
      assert.deepEqual(
        ended.map(({ outcome }) => outcome),
        outcomes,
      )
    })
  }

  it('leaves an event alone that waits for another try when nothing else of its subject was held', async () => {
    const id = await addPoll()
    await hub.fanOut([hub.event({ ...CREATE, ...of('ann') }), hub.event({ ...REVOKE, ...of('bob') })])
    const later = "update delivery_queue set next_attempt_at = '2100-01-01' where stream_id = ?"
    await hub.rows(later, [id])
    await set(id, 'paused')
    await set(id, 'enabled')
    const due = 'select 1 from delivery_queue where stream_id = ? and next_attempt_at < clock_timestamp()'
    assert.deepEqual(await hub.rows(due, [id]), [])
  })

  it('leaves out an all-clear that a later event has cancelled', async () => {
    const id = await addPush()
    await set(id, 'paused')
    const held = [COMPLIANT, CREATE, REVOKE].map((one) => hub.event({ ...one, ...of('ann') }))
    await hub.fanOut(held)
    await set(id, 'enabled')
    await waitUntil('all results', async () => {
      const rows = await hub.rows('select 1 from deliveries where stream_id = ?', [id])
      return rows.length === held.length
    })
    assert.deepEqual(pushed(), txnsOf(held.slice(1)))
  })

  it('lets a revocation overtake on a stream that was not paused, and an answer still names the oldest first (T-97)', async () => {
    const id = await addPoll()
    const events = [CREATE, REVOKE].map((one) => hub.event({ ...one, ...of('ann') }))
    await hub.fanOut(events)
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    const both = await hub.delivery.polls.poll(receiverId, id, { returnImmediately: true }, call)
    const jtis = events.map(({ eventId }) => hub.keys.jtis.mint(eventId, receiverId))
    assert.deepEqual(Object.keys(both.sets), jtis)
    assert.deepEqual([await poll(id, 1), await poll(id, 1)].flat(), txnsOf(events.toReversed()))
  })
})
