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

  it('keeps no hash of content that can be guessed from without the hub’s key', async () => {
    const event = hub.event()
    await hub.fanOut([event])
    const [row] = await hub.rows<{ content_hash: Buffer }>('select content_hash from event_keys')
    assert.equal(row?.content_hash.length, 32)
    assert.notEqual(row.content_hash.toString('base64url'), event.contentHash)
  })

  it('tells a repeat from another content under the same name, and notes its source for an alert', async () => {
    const event = hub.event()
    const conflicts = () => hub.metric('firebreak_conflicting_repeats_total')
    const noted = () => hub.rows('select source_id, lane, count from conflicting_repeats')
    await hub.fanOut([event])
    await hub.fanOut([event])
    assert.equal(await conflicts(), 0)
    assert.deepEqual(await noted(), [])
    const { sourceId, sourceIssuer, sourceJti } = event
    const other = () =>
      hub.event({ sourceId, sourceIssuer, sourceJti, claims: { initiating_entity: 'admin' } })
    await hub.fanOut([other()])
    assert.equal(await conflicts(), 1)
    await hub.fanOut([other(), other()])
    assert.deepEqual(await noted(), [{ source_id: sourceId, lane: 1, count: 3 }])
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

  describe('of what another source has said', () => {
    const dated = { claims: { event_timestamp: 1_700_000_000 }, txn: 'one cause' }
    const streamsOf = async () => (await queued()).map((row) => row.stream_id)

    it('queues nothing for the streams that have it, and all of it for the others', async () => {
      const [first, second] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222']
      const both = await hub.addStream({ receiverId: await hub.addReceiver() })
      const onlySecond = await hub.addStream({ receiverId: await hub.addReceiver({ sources: [second] }) })
      await hub.fanOut([hub.event({ ...dated, sourceId: first })])
      assert.deepEqual(await streamsOf(), [both])
      await hub.fanOut([hub.event({ ...dated, sourceId: second })])
      assert.deepEqual(await streamsOf(), [both, onlySecond])
      await hub.fanOut([hub.event(dated), hub.event(dated)])
      assert.deepEqual(await streamsOf(), [both, onlySecond])
      assert.equal((await hub.rows('select 1 from events')).length, 4)
      const named = await hub.rows('select 1 from events where fact_hash is not null')
      assert.equal(named.length, 2, 'what went nowhere is not found again')
    })

    it('takes it for another fact when type, subject, date, cause or a member differs', async () => {
      await hub.addStream({ receiverId: await hub.addReceiver() })
      const compliance = { previous_status: 'compliant', current_status: 'not-compliant' }
      const variants = [
        dated,
        { ...dated, type: CAEP.deviceComplianceChange },
        { ...dated, subject: { format: 'email', email: 'bob@example.com' } },
        { ...dated, claims: { event_timestamp: 1_700_000_001 } },
        { ...dated, txn: 'another cause' },
        { ...dated, claims: { ...dated.claims, initiating_entity: 'admin' } },
        {
          ...dated,
          type: CAEP.deviceComplianceChange,
          claims: { ...dated.claims, ...compliance },
        },
      ]
      for (const variant of variants) await hub.fanOut([hub.event(variant)])
      assert.equal((await queued()).length, variants.length)
    })

    it('does not look at members that are not passed on, nor at reasons', async () => {
      await hub.addStream({ receiverId: await hub.addReceiver() })
      const claims = { ...dated.claims, vendor: true, reason_admin: { en: 'left the company' } }
      await hub.fanOut([hub.event({ ...dated, claims }), hub.event(dated)])
      assert.equal((await queued()).length, 1)
    })

    it('sends it to a stream that was not there the first time, or whose delivery was given up', async () => {
      const receiverId = await hub.addReceiver()
      await hub.addStream({ receiverId })
      const first = hub.event(dated)
      await hub.fanOut([first])
      const late = await hub.addStream({ receiverId })
      await hub.fanOut([hub.event(dated)])
      assert.equal((await queued()).filter((row) => row.stream_id === late).length, 1)
      await hub.rows('delete from delivery_queue')
      await hub.fanOut([hub.event(dated)])
      assert.equal((await queued()).length, 2)
    })

    it('gets on with the rest while one fact is said hundreds of times to many streams', async () => {
      const receiverId = await hub.addReceiver()
      for (let count = 0; count < 60; count += 1) await hub.addStream({ receiverId })
      const sourceId = '11111111-1111-4111-8111-111111111111'
      const flood = Array.from({ length: 400 }, () => hub.event({ ...dated, sourceId }))
      const other = hub.event({ subject: { format: 'email', email: 'bob@example.com' } })
      await hub.fanOut([...flood, other])
      await hub.fanOut(Array.from({ length: 400 }, () => hub.event({ ...dated, sourceId })))
      // Ten of the flood to each stream, and the other event.
      assert.equal((await queued()).length, 60 * 11)
      const [row] = await hub.rows<{ n: number }>(
        'select count(*)::int as n from delivery_queue where event_id = ?',
        [other.eventId],
      )
      assert.equal(row?.n, 60)
    })

    it('knows what was delivered and is queued no more', async () => {
      const streamId = await hub.addStream({ receiverId: await hub.addReceiver() })
      const settled = async (outcome: string) => {
        await hub.rows('delete from deliveries')
        await hub.rows(
          `insert into deliveries (stream_id, event_id, day, receiver_id, lane, type, effect, txn, source_id,
             accepted_at, expects, queued_at, outcome, attempts)
           select stream_id, event_id, day, receiver_id, lane, type, effect, txn, source_id, accepted_at, expects,
             queued_at, ?, 1 from delivery_queue`,
          [outcome],
        )
        await hub.rows('delete from delivery_queue')
        await hub.fanOut([hub.event(dated)])
        return (await queued()).length
      }
      await hub.fanOut([hub.event(dated)])
      assert.equal(await settled('expired'), 1, streamId)
      assert.equal(await settled('received'), 0)
    })

    it('never holds back what one source says again without a date', async () => {
      await hub.addStream({ receiverId: await hub.addReceiver() })
      const sourceId = '11111111-1111-4111-8111-111111111111'
      const undated = { txn: 'one cause', claims: {} }
      for (let time = 0; time < 3; time += 1) await hub.fanOut([hub.event({ ...undated, sourceId })])
      assert.equal((await queued()).length, 3)
      await hub.fanOut([hub.event(undated)])
      assert.equal((await queued()).length, 3, 'another source says it too')
    })

    it('raises the order of its subject only when a stream gets it', async () => {
      const order = async () =>
        (await hub.rows<{ id: string }>('select newest_tightening as id from subject_orders'))[0]?.id
      const receiverId = await hub.addReceiver()
      await hub.addStream({ receiverId })
      const first = hub.event(dated)
      await hub.fanOut([first])
      assert.equal(await order(), first.eventId)
      await hub.fanOut([hub.event(dated)])
      assert.equal(await order(), first.eventId, 'a stale copy supersedes nothing')
      await hub.addStream({ receiverId })
      const third = hub.event(dated)
      await hub.fanOut([third])
      assert.equal(await order(), third.eventId)
    })
  })
})
