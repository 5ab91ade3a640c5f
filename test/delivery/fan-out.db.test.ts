import assert from 'node:assert/strict'
import { CAEP } from '../../src/secevent/event-types.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'

describe('fan-out', () => {
  let hub: DeliveryHarness
  beforeEach(async () => {
    hub = await startDelivery()
  })
  afterEach(() => hub.close())

  const queued = () =>
    hub.rows<{ stream_id: string; expects: number; lane: number }>(
      'select stream_id, expects, lane from delivery_queue order by event_id, stream_id',
    )

  it('queues one delivery per matching stream, with the stages its receiver reports', async () => {
    const reporting = await hub.addStream({ receiverId: await hub.addReceiver({ reports: ['applied'] }) })
    const silent = await hub.addStream({ receiverId: await hub.addReceiver() })
    await hub.addStream({ receiverId: await hub.addReceiver(), types: [CAEP.credentialChange] })
    await hub.addStream({ receiverId: await hub.addReceiver({ eventTypes: [CAEP.credentialChange] }) })
    await hub.addStream({ receiverId: await hub.addReceiver(), status: 'disabled' })
    await hub.fanOut([hub.event()])
    const rows = await queued()
    assert.deepEqual(
      new Map(rows.map((row) => [row.stream_id, row.expects])),
      new Map([
        [reporting, 3],
        [silent, 1],
      ]),
    )
  })

  it('stores what identifies a person only under the day’s key', async () => {
    await hub.fanOut([hub.event({ subject: { format: 'email', email: 'canary@example.com' } })])
    const [row] = await hub.rows<{ content: Buffer }>('select content from events')
    assert.ok(row && !row.content.toString('latin1').includes('canary'))
    const [all] = await hub.rows<{ text: string }>('select events::text as text from events')
    assert.ok(!all?.text.includes('canary'))
  })

  it('stores a quarantined event, parks it with its reason and sends it nowhere', async () => {
    await hub.addStream({ receiverId: await hub.addReceiver() })
    await hub.fanOut([hub.event({ quarantine: 'invalid_payload' })])
    assert.equal((await queued()).length, 0)
    const [parked] = await hub.rows<{ kind: string; code: string }>('select kind, code from parked')
    assert.deepEqual(parked, { kind: 'event', code: 'invalid_payload' })
    assert.equal((await hub.rows('select 1 from events')).length, 1)
  })

  it('parks a record that the hub did not sign, sealed, and goes on with the rest', async () => {
    await hub.addStream({ receiverId: await hub.addReceiver() })
    const routine = hub.event({ type: CAEP.sessionEstablished })
    await hub.fanOut([routine], ['forged canary record'])
    assert.equal((await queued()).length, 1)
    const [parked] = await hub.rows<{ kind: string; code: string; record: Buffer }>(
      'select kind, code, record from parked',
    )
    assert.equal(parked?.kind, 'record')
    assert.ok(!parked.record.toString('latin1').includes('canary'))
    const cipher = await hub.keys.contentCipher(new Date().toISOString().slice(0, 10))
    assert.equal(cipher.open(parked.record).toString(), 'forged canary record')
  })

  it('isolates an event that the database cannot store, and stores its neighbours', async () => {
    await hub.addStream({ receiverId: await hub.addReceiver() })
    const events = Array.from({ length: 9 }, () => hub.event())
    const poison = { ...hub.event(), txn: 'a\u0000b' }
    await hub.fanOut([...events.slice(0, 4), poison, ...events.slice(4)])
    assert.equal((await queued()).length, 9)
    const parked = await hub.rows<{ code: string; event_id: string }>('select code, event_id from parked')
    assert.deepEqual(parked, [{ code: 'unstorable', event_id: poison.eventId }])
  })

  it('never sends an event back to the receiver that is its source', async () => {
    const receiverId = await hub.addReceiver()
    await hub.addStream({ receiverId })
    const sourceId = '11111111-1111-4111-8111-111111111111'
    await hub.db('transmitters').insert({
      id: sourceId,
      name: 'downstream hub',
      issuer: 'https://hub2.example.com',
      audience: ['x'],
      algorithms: ['RS256'],
      receiver_id: receiverId,
    })
    await hub.fanOut([hub.event({ sourceId })])
    assert.equal((await queued()).length, 0)
  })

  it('recognises a repeat of another day of the window', async () => {
    const event = hub.event()
    await hub.fanOut([event])
    await hub.rows(`select ensure_day_partitions(current_date - 5, current_date - 5)`)
    await hub.rows(`update event_keys set day = current_date - 5`)
    await hub.fanOut([{ ...event, eventId: hub.event().eventId }])
    assert.equal((await hub.rows('select 1 from events')).length, 1)
  })

  it('makes the partitions of a day that upkeep never saw', async () => {
    const acceptedAtMs = Date.now() - 6 * 86_400_000
    await hub.fanOut([hub.event({ acceptedAtMs })])
    const [row] = await hub.rows<{ day: string }>('select day from events')
    assert.equal(row?.day, new Date(acceptedAtMs).toISOString().slice(0, 10))
  })

  it('keeps one order between two batches of one slot at the same time', async () => {
    await hub.addStream({ receiverId: await hub.addReceiver() })
    const event = hub.event()
    const copies = Array.from({ length: 6 }, () => ({ ...event, eventId: hub.event().eventId }))
    await Promise.all(copies.map((copy) => hub.fanOut([copy])))
    assert.equal((await queued()).length, 1)
  })
})
