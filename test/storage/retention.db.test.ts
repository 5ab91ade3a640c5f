import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createExpiry } from '../../src/delivery/expiry.js'
import { fanOutRepository } from '../../src/delivery/fan-out-repository.js'
import { parkedRepository } from '../../src/delivery/parked-repository.js'
import { resultRepository } from '../../src/delivery/result-repository.js'
import { forgetFigures } from '../../src/enforcement/latency-histogram-repository.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { eraseContentKeys } from '../../src/keys/data-keys.js'
import { createUpkeep, dropOldDays } from '../../src/storage/partitions.js'
import { forgetRemovedSubjects } from '../../src/streams/subject-upkeep.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const DAY_MS = 86_400_000
const dayAgo = (days: number) => new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10)

describe('retention', () => {
  let test: TestDatabase
  beforeEach(async () => {
    test = await createTestDatabase()
    await test.db.raw(
      "select ensure_day_partitions((now() at time zone 'utc')::date - 40, (now() at time zone 'utc')::date)",
    )
  })
  afterEach(() => test.close())

  async function addEvent(ago: number): Promise<string> {
    const id = randomUUID()
    await test.db('events').insert({
      event_id: id,
      day: dayAgo(ago),
      accepted_at: new Date(Date.now() - ago * DAY_MS),
      lane: 1,
      effect: 'tightens',
      type: 't',
      txn: `${ago}`,
      source_id: randomUUID(),
      source_issuer: 'i',
      source_jti: id,
      content: Buffer.from('sealed'),
    })
    return id
  }
  const queueRow = (ago: number, eventId: string = randomUUID()) => ({
    stream_id: randomUUID(),
    lane: 1,
    event_id: eventId,
    day: dayAgo(ago),
    receiver_id: randomUUID(),
    shard: 0,
    type: 't',
    effect: 'tightens',
    txn: `${ago}`,
    source_id: randomUUID(),
    accepted_at: new Date(Date.now() - ago * DAY_MS).toISOString(),
    expects: 1,
    queued_at: new Date(Date.now() - ago * DAY_MS).toISOString(),
    attempts: 2,
    last_failure: 'answered 500',
  })

  it('takes contents before their frames, with the keys of their days, and neither while a delivery is open', async () => {
    for (const ago of [10, 21, 25, 35]) {
      await addEvent(ago)
      await test.db('data_keys').insert({ purpose: 'content', day: dayAgo(ago), wrapped: Buffer.from('k') })
    }
    const retention = {
      dedupeWindowDays: 14,
      retentionDays: 30,
      contentRetentionDays: 20,
      eraseContentBefore: fanOutRepository.forgetContent,
      eraseKeysBefore: eraseContentKeys,
    }
    await test.db('delivery_queue').insert(queueRow(24))
    await dropOldDays(test.db, retention)
    const left = () => test.db('events').orderBy('accepted_at').select('txn', 'content')
    assert.deepEqual(
      (await left()).map(({ txn, content }) => [txn, content !== null]),
      [
        ['25', false],
        ['21', true],
        ['10', true],
      ],
    )
    await test.db('delivery_queue').delete()
    await dropOldDays(test.db, retention)
    assert.deepEqual(
      (await left()).map(({ txn, content }) => [txn, content !== null]),
      [
        ['25', false],
        ['21', false],
        ['10', true],
      ],
    )
    assert.deepEqual(await test.db('data_keys').where({ purpose: 'content' }).pluck('day'), [dayAgo(10)])
  })

  it('replays no parked delivery whose content is gone', async () => {
    const [receiver, stream] = [randomUUID(), randomUUID()]
    await test.db('receivers').insert({ id: receiver, name: 'gw', client_id: 'gw', audience: 'gw' })
    await test
      .db('streams')
      .insert({ stream_id: stream, receiver_id: receiver, shard: 0, delivery_method: 'poll' })
    const event = await addEvent(3)
    const id = randomUUID()
    const delivery = JSON.stringify({ ...queueRow(3, event), stream_id: stream, rendering: 1 })
    await test
      .db('parked')
      .insert({ id, kind: 'delivery', code: 'c', reason: 'r', stream_id: stream, event_id: event, delivery })
    await test.db('events').update({ content: null })
    const replay = async () =>
      (await test.db.transaction((trx) => parkedRepository.replay(trx, { id }, 1))).rows
    assert.deepEqual(await replay(), [])
    await test.db('events').update({ content: Buffer.from('sealed') })
    assert.deepEqual(await replay(), [{ id, streamId: stream }])
  })

  it('ends what nobody took as expired, and keeps what is younger', async () => {
    await test.db('delivery_queue').insert([queueRow(20), queueRow(18)])
    assert.equal(await resultRepository.expireOpen(test.db, 19), 1)
    const [done] = await test.db('deliveries').select('outcome', 'attempts', 'failure', 'txn')
    assert.deepEqual(done, { outcome: 'expired', attempts: 2, failure: 'answered 500', txn: '20' })
    assert.deepEqual(await test.db('delivery_queue').pluck('txn'), ['18'])
    assert.equal(await resultRepository.expireOpen(test.db, 19), 0)
  })

  it('counts and logs what it gives up, and says nothing when that is nothing', async () => {
    const metrics = createMetrics()
    const said: unknown[] = []
    const expire = createExpiry({
      db: test.db,
      undeliveredRetentionDays: 19,
      parkedRetentionDays: 19,
      metrics,
      logger: { ...silentLogger, error: (...words) => void said.push(words) },
    })
    await test.db('delivery_queue').insert([queueRow(20), queueRow(18)])
    await expire()
    await expire()
    assert.deepEqual(said, [['delivery.expired', { unsent: 1, parked: 0 }]])
    assert.match(await metrics.render(), /^firebreak_deliveries_expired_total 1$/m)
  })

  it('ends what nobody settled as expired, whatever became of its day', async () => {
    const add = (kind: string, ago: number, delivery: object | null) =>
      test.db('parked').insert({
        id: randomUUID(),
        kind,
        code: 'c',
        reason: 'r',
        parked_at: new Date(Date.now() - ago * DAY_MS),
        record: kind === 'record' ? Buffer.from('sealed') : null,
        delivery: delivery && JSON.stringify(delivery),
      })
    await add('delivery', 21, queueRow(21))
    await add('delivery', 60, queueRow(60))
    await add('delivery', 5, queueRow(5))
    await add('record', 21, null)
    await add('event', 21, null)
    assert.equal(await parkedRepository.expireOpen(test.db, 20), 2)
    assert.deepEqual(await test.db('deliveries').pluck('outcome'), ['expired'])
    const rows = await test
      .db('parked')
      .select('kind', 'resolution', 'record')
      .orderBy('kind')
      .orderBy('parked_at')
    assert.deepEqual(rows, [
      { kind: 'delivery', resolution: 'expired', record: null },
      { kind: 'delivery', resolution: 'expired', record: null },
      { kind: 'delivery', resolution: null, record: null },
      { kind: 'event', resolution: 'expired', record: null },
      { kind: 'record', resolution: 'expired', record: null },
    ])
  })

  it('drops figures and holds past their retention, and no open hold', async () => {
    const hour = (ago: number) => new Date(Math.floor((Date.now() - ago * DAY_MS) / 3_600_000) * 3_600_000)
    for (const ago of [401, 399]) {
      const own = { stage: 'applied', type: 't', source_id: randomUUID(), stream_id: randomUUID() }
      await test
        .db('latency_histograms')
        .insert({ hour: hour(ago), ...own, receiver_id: randomUUID(), bucket: 1, count: 1 })
      const { stream_id: _, ...rolled } = own
      await test.db('latency_rollups').insert({ hour: hour(ago), ...rolled, bucket: 1, count: 1 })
      await test.db('latency_folded_hours').insert({ hour: hour(ago) })
      await test.db('latency_dirty_hours').insert({ hour: hour(ago) })
      await test
        .db('stream_holds')
        .insert({ stream_id: randomUUID(), held_from: hour(500), held_until: hour(ago) })
    }
    await test.db('stream_holds').insert({ stream_id: randomUUID(), held_from: hour(500) })
    await forgetFigures(test.db, 400)
    for (const [table, count] of [
      ['latency_histograms', 1],
      ['latency_rollups', 1],
      ['latency_folded_hours', 1],
      ['latency_dirty_hours', 1],
      ['stream_holds', 2],
    ] as const) {
      assert.equal((await test.db(table)).length, count, table)
    }
  })

  it('forgets removed subjects once their grace is over, where only added ones count', async () => {
    const streamOf = async (defaultSubjects: string) => {
      const [receiver, stream] = [randomUUID(), randomUUID()]
      await test.db('receivers').insert({
        id: receiver,
        name: receiver,
        client_id: receiver,
        audience: receiver,
        default_subjects: defaultSubjects,
      })
      await test.db('streams').insert({
        stream_id: stream,
        receiver_id: receiver,
        shard: 0,
        delivery_method: 'poll',
        subject_count: 2,
      })
      for (const [mode, ago] of [
        ['removed', 100],
        ['removed', 5],
      ] as const) {
        await test.db('stream_subjects').insert({
          stream_id: stream,
          match_hash: Buffer.from(randomUUID()),
          mode,
          subject_wrapped: Buffer.from('s'),
          changed_at: new Date(Date.now() - ago * 1_000),
        })
      }
      return stream
    }
    const [none, all] = [await streamOf('NONE'), await streamOf('ALL')]
    await forgetRemovedSubjects(test.db, 60)
    const countOf = async (stream: string) =>
      (await test.db('stream_subjects').where({ stream_id: stream })).length
    assert.deepEqual([await countOf(none), await countOf(all)], [1, 2])
    assert.deepEqual(await test.db('streams').where({ stream_id: none }).pluck('subject_count'), [1])
  })

  it('ends before it drops, and trims after: an expired day goes in the same round', async () => {
    await addEvent(35)
    await test.db('delivery_queue').insert(queueRow(35))
    const order: string[] = []
    const upkeep = createUpkeep({
      db: test.db,
      logger: silentLogger,
      lease: {
        get: () => ({ unit: 0, epoch: 1, endsAtMonotonicMs: Number.POSITIVE_INFINITY }),
        onChange() {},
      },
      dedupeWindowDays: 14,
      retentionDays: 30,
      contentRetentionDays: 30,
      expire: async () => {
        order.push('expire')
        await resultRepository.expireOpen(test.db, 34)
      },
      trim: async () => void order.push(`trim ${(await test.db('events')).length}`),
    })
    await upkeep.start()
    await upkeep.stop()
    assert.deepEqual(order, ['expire', 'trim 0'])
  })
})
