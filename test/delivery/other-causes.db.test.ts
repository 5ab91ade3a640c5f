import assert from 'node:assert/strict'
import { causeOf } from '../../src/delivery/cause.js'
import { findOtherCauses } from '../../src/delivery/other-causes.js'
import { newId } from '../../src/kernel/ids.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { openPool, sqlRows } from '../../src/storage/database.js'
import { createStreamRepository } from '../../src/streams/stream-repository.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'

describe('causes of a backlog', function () {
  this.timeout(60_000)
  let hub: DeliveryHarness
  let receiverId: string
  let streamId: string

  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())
  beforeEach(async () => {
    receiverId = await hub.addReceiver()
    streamId = await hub.addStream({ receiverId })
  })

  /** Rows of one source without looking at the log: a backlog. */
  async function queueRows(
    count: number,
    row: { source: string; txn(index: number): string; type?: string },
  ) {
    const events = Array.from({ length: count }, (_, index) =>
      hub.event({
        sourceId: row.source,
        txn: row.txn(index),
        subject: { format: 'opaque', id: newId() },
        ...(row.type ? { type: row.type, claims: { current_status: 'compliant' } } : {}),
      }),
    )
    for (let from = 0; from < count; from += 500) await hub.fanOut(events.slice(from, from + 500))
    return events.map(({ eventId }) => eventId)
  }

  async function letGo() {
    for (const status of ['paused', 'enabled'] as const)
      await hub.statuses.setStatus(receiverId, streamId, { status })
  }

  const find = async (inHand: string[] = []) =>
    await findOtherCauses(hub.db, { streamId, lane: 'urgent', method: 'poll', inHand })

  it('are found behind a mass logout, a few rows of each, and as many of each source', async () => {
    const [idp, itdr, noisy] = [newId(), newId(), newId()]
    const logout = await queueRows(1_200, { source: idp, txn: () => 'logout' })
    await queueRows(700, { source: noisy, txn: (index) => `txn ${index}` })
    await queueRows(3, { source: idp, txn: () => 'theft' })
    await queueRows(1, { source: itdr, txn: () => 'theft' })
    // Wherever the rounds begin.
    for (let round = 0; round < 20; round += 1) {
      const found = await find(logout.slice(0, 500))
      const count = (source: string, txn?: string) =>
        found.filter(({ delivery }) => delivery.sourceId === source && (!txn || delivery.txn === txn)).length
      assert.equal(count(idp, 'theft'), 2)
      assert.equal(count(itdr, 'theft'), 1)
      assert.equal(count(idp, 'logout'), 2)
      assert.ok(found.length <= 256)
      assert.ok(count(noisy) > 50, `${count(noisy)} of the source with many causes`)
    }
    const [first] = (await find(logout.slice(0, 500))).filter(({ delivery }) => delivery.txn === 'logout')
    assert.ok(
      logout.slice(500, 502).includes(first?.delivery.eventId ?? ''),
      'the oldest that are not in hand',
    )
  })

  it('are those of rows that may go before older ones of their subject, and are due', async () => {
    const source = newId()
    await queueRows(2, { source, txn: () => 'opened', type: CAEP.deviceComplianceChange })
    await hub.db('delivery_queue').where({ stream_id: streamId }).update({ lane: 1 })
    assert.deepEqual(await find(), [], 'what loosens access keeps its place')
    const [eventId] = await queueRows(1, { source, txn: () => 'closed' })
    assert.deepEqual(
      (await find()).map(({ delivery }) => delivery.eventId),
      [eventId],
    )
    await hub.rows(
      `update delivery_queue set next_attempt_at = now() + interval '1 hour' where event_id = ?::uuid`,
      [eventId],
    )
    assert.deepEqual(await find(), [])
  })

  it('are not looked for among what a pause held, which goes out by age', async () => {
    await queueRows(3, { source: newId(), txn: () => 'held' })
    await letGo()
    assert.deepEqual(await find(), [])
    const [eventId] = await queueRows(1, { source: newId(), txn: () => 'new' })
    assert.deepEqual(
      (await find()).map(({ delivery }) => delivery.eventId),
      [eventId],
    )
  })

  it('are looked for whatever of their stream but its status was set since', async () => {
    const queued = await queueRows(2, { source: newId(), txn: () => 'theft' })
    const streams = createStreamRepository(hub.db)
    const stream = await streams.findAny(streamId)
    assert.ok(stream)
    const changes: Record<string, () => Promise<unknown>> = {
      subjects: () => streams.saveSubjectCount(streamId, 1),
      configuration: () => streams.saveConfiguration(streamId, stream),
      TLS: () => streams.raiseVersion(streamId),
      'the same status': () => hub.statuses.setStatus(receiverId, streamId, { status: 'enabled' }),
    }
    for (const [name, change] of Object.entries(changes)) {
      await change()
      const found = (await find()).map(({ delivery }) => delivery.eventId)
      assert.deepEqual(found.sort(), queued, name)
    }
  })

  it('are not looked for among what was held when an older release let the stream go', async () => {
    await letGo()
    await queueRows(3, { source: newId(), txn: () => 'held' })
    // As it wrote it, whatever the release of now had written before.
    await hub.rows(
      `update streams set status = 'enabled', status_by = 'receiver', version = version + 1, active_at = now(),
         updated_at = now() where stream_id = ?`,
      [streamId],
    )
    await createStreamRepository(hub.db).saveSubjectCount(streamId, 1)
    assert.deepEqual(await find(), [])
  })

  it('are found among more of them, all held, than one look holds', async () => {
    const source = newId()
    // Two rows of each cause, so that the held ones alone are more than one answer.
    await queueRows(400, { source, txn: (index) => `held ${index % 200}` })
    await letGo()
    const queued = await queueRows(1, { source, txn: () => 'theft' })
    for (let round = 0; round < 20; round += 1) {
      assert.deepEqual(
        (await find()).map(({ delivery }) => delivery.eventId),
        queued,
      )
    }
  })

  it('are not looked for among what came while the stream was being let go', async () => {
    await hub.statuses.setStatus(receiverId, streamId, { status: 'paused' })
    await hub.db.transaction(async (trx) => {
      await trx.raw('select now()')
      await queueRows(1, { source: newId(), txn: () => 'late' })
      await createStreamRepository(trx).saveStatus(streamId, {
        status: 'enabled',
        reason: undefined,
        by: 'receiver',
      })
    })
    assert.deepEqual(await find(), [])
  })

  it('of what the hub says of the stream come in its order, held or not', async () => {
    await queueRows(3, { source: newId(), txn: () => 'held' })
    const own = () =>
      hub.event({
        sourceId: HUB_SOURCE_ID,
        txn: newId(),
        type: SSF.verification,
        subject: { format: 'opaque', id: streamId },
        claims: {},
        targetStreamId: streamId,
      })
    const held = own()
    await hub.fanOut([held])
    await letGo()
    const [second, third] = [own(), own()]
    await hub.fanOut([second, third])
    // Wherever the rounds begin: an older one is never left behind.
    for (let round = 0; round < 10; round += 1) {
      const found = (await find()).map(({ delivery }) => delivery.eventId)
      assert.deepEqual(found.sort(), [held.eventId, second.eventId])
    }
    assert.deepEqual((await find([held.eventId])).map(({ delivery }) => delivery.eventId).sort(), [
      second.eventId,
      third.eventId,
    ])
  })

  it('of rows that an older release wrote are one, of a source of their own', async () => {
    await queueRows(3, { source: newId(), txn: (index) => `txn ${index}` })
    await hub.db('delivery_queue').where({ stream_id: streamId }).update({ cause: 0 })
    await queueRows(1, { source: newId(), txn: () => 'new' })
    const txns = (await find()).map(({ delivery }) => delivery.txn)
    assert.deepEqual(txns.sort(), ['new', 'txn 0', 'txn 1'])
  })

  it('are looked up, not counted: a long backlog is not read', async () => {
    const source = newId()
    await hub.rows(
      `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id,
         cause, accepted_at, expects)
       select ?::uuid, 1, gen_random_uuid(), current_date, ?::uuid, 0, 't', 'tightens', 'logout', ?::uuid, ?, now(), 1
       from generate_series(1, 50000)`,
      [streamId, newId(), source, causeOf(source, 'logout')],
    )
    await hub.rows('analyze delivery_queue')
    // As the pools of the lanes are.
    const lane = openPool(hub.url, { name: 'lane', max: 1, lookupsOnly: true })
    const read = await lane.transaction(async (trx) => {
      await findOtherCauses(trx, { streamId, lane: 'urgent', method: 'poll', inHand: [] })
      const [row] = await sqlRows<{ read: number }>(
        trx,
        `select sum(idx_tup_fetch + seq_tup_read)::int as read from pg_stat_xact_user_tables
         where relname = 'delivery_queue'`,
      )
      return row?.read ?? Number.NaN
    })
    await lane.destroy()
    assert.ok(read < 100, `${read} rows were read`)
  })
})
