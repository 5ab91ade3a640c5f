import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import request from 'supertest'
import { createTimeToRevokeReadModel } from '../../src/enforcement/time-to-revoke-read-model.js'
import { timeToRevokeRouter } from '../../src/enforcement/time-to-revoke-router.js'
import { createClock, toTimestamp } from '../../src/kernel/clock.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { appOf, STAGE_DEADLINES } from './enforcement-fixture.js'
import {
  CREDENTIAL_CHANGE,
  ensureDays,
  SESSION_REVOKED,
  type SeedReceiver,
  seedDelivery,
  seedReceiver,
  seedReport,
  seedSource,
  seedStream,
} from './seed.js'

interface Item {
  stream_id?: string
  event_type?: string
  source?: { id: string; name: string | null }
  point?: { id: string; name: string | null }
  [column: string]: unknown
}

describe('GET /v1/time-to-revoke', () => {
  let test: TestDatabase
  let gateway: SeedReceiver
  let app: ReturnType<typeof appOf>
  const clock = createClock()
  const MINUTE = 60_000

  /** Stands for requireCaller: no header is an operator. */
  const caller: RequestHandler = (req, res, next) => {
    res.locals.receiverId = req.get('x-receiver')
    next()
  }

  beforeEach(async () => {
    test = await createTestDatabase()
    gateway = await seedReceiver(test.db, 'gateway')
    await ensureDays(test.db, clock.now() - 3 * 86_400_000, clock.now())
    app = appOf(
      timeToRevokeRouter({
        readModel: createTimeToRevokeReadModel(test.db),
        caller,
        receiverIdOf: (res) => res.locals.receiverId as string | undefined,
        clock,
        deadlines: STAGE_DEADLINES,
      }),
    )
  })
  afterEach(() => test.close())

  async function ask(query: Record<string, string> = {}, as?: string): Promise<Item[]> {
    const asked = request(app).get('/v1/time-to-revoke').query(query)
    const answer = await (as ? asked.set('x-receiver', as) : asked)
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    return answer.body.items as Item[]
  }
  async function askOne(query: Record<string, string> = {}, as?: string): Promise<Item> {
    const items = await ask(query, as)
    assert.equal(items.length, 1)
    return items[0] as Item
  }

  it('answers one row of zeroes when nothing was expected', async () => {
    assert.deepEqual(await askOne(), {
      count: 0,
      pending: 0,
      outstanding: 0,
      p50_ms: null,
      p90_ms: null,
      p99_ms: null,
      max_ms: null,
      infinite: false,
      not_applicable: 0,
      superseded: 0,
      paused: 0,
      deleted: 0,
      source_delay_p50_ms: null,
      hub_p50_ms: null,
    })
    assert.deepEqual(await ask({ group_by: 'stream' }), [])
  })

  it('answers nearest-rank quantiles, the source delay and the hub part apart', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    for (let index = 1; index <= 10; index += 1) {
      await seedDelivery(test.db, gateway, {
        acceptedAtMs,
        deliveredMs: index,
        receivedMs: index * 10,
        eventTimestampMs: acceptedAtMs - index * 100,
      })
    }
    const row = await askOne()
    assert.equal(row.count, 10)
    assert.equal(row.p50_ms, 50)
    assert.equal(row.p90_ms, 90)
    assert.equal(row.p99_ms, 100)
    assert.equal(row.max_ms, 100)
    assert.equal(row.infinite, false)
    assert.equal(row.source_delay_p50_ms, 500)
    assert.equal(row.hub_p50_ms, 5)
  })

  it('keeps what never arrived in the quantiles as infinite, and what is young as pending', async () => {
    const oldMs = clock.now() - 10 * MINUTE
    for (let index = 0; index < 8; index += 1) await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs })
    await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs, place: 'queue' })
    await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs, place: 'parked' })
    await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs, outcome: 'expired' })
    await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs, outcome: 'discarded' })
    await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() - 5_000, place: 'queue' })
    const row = await askOne()
    assert.equal(row.count, 13)
    assert.equal(row.pending, 1)
    assert.equal(row.outstanding, 4)
    assert.equal(row.p50_ms, 10)
    assert.equal(row.p90_ms, null)
    assert.equal(row.p99_ms, null)
    assert.equal(row.max_ms, 10)
    assert.equal(row.infinite, true)
  })

  it('shows superseded and deleted apart and never as a success', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    await seedDelivery(test.db, gateway, { acceptedAtMs, outcome: 'superseded' })
    await seedDelivery(test.db, gateway, { acceptedAtMs, outcome: 'deleted' })
    const row = await askOne()
    assert.deepEqual([row.count, row.superseded, row.deleted, row.p50_ms], [0, 1, 1, null])
  })

  it('clamps a time that skewed clocks made negative', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    await seedDelivery(test.db, gateway, {
      acceptedAtMs,
      receivedMs: -500,
      deliveredMs: -1,
      eventTimestampMs: acceptedAtMs + 900,
    })
    const row = await askOne()
    assert.deepEqual([row.p50_ms, row.hub_p50_ms, row.source_delay_p50_ms], [0, 0, 0])
  })

  it('measures a stage only where the point has declared it', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const silent = await seedDelivery(test.db, gateway, { acceptedAtMs, expects: 1 })
    await seedReport(test.db, silent, { status: 'applied', atMs: acceptedAtMs + 70 })
    await seedDelivery(test.db, gateway, { acceptedAtMs, expects: 0 })
    assert.equal((await askOne({ stage: 'received' })).count, 1)
    assert.equal((await askOne({ stage: 'applied' })).count, 0)
  })

  it('measures applied from the report, even when it came before the receipt', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const open = await seedDelivery(test.db, gateway, { acceptedAtMs, place: 'queue' })
    await seedReport(test.db, open, { status: 'applied', atMs: acceptedAtMs + 70 })
    const applied = await askOne({ stage: 'applied' })
    assert.deepEqual([applied.count, applied.p50_ms, applied.infinite], [1, 70, false])
    const received = await askOne({ stage: 'received' })
    assert.deepEqual([received.count, received.outstanding, received.infinite], [1, 1, true])
  })

  it('is applied when the last replica that reported is, and open while one has failed', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const delivery = await seedDelivery(test.db, gateway, { acceptedAtMs })
    const say = (replica: string, status: string, ms: number) =>
      seedReport(test.db, delivery, { replica, status, atMs: acceptedAtMs + ms })
    await say('a', 'applied', 40)
    await say('b', 'failed', 50)
    assert.deepEqual((await askOne({ stage: 'applied' })).outstanding, 1)
    await say('b', 'applied', 90)
    const row = await askOne({ stage: 'applied' })
    assert.deepEqual([row.outstanding, row.p50_ms], [0, 90])
  })

  it('shows what a point cannot match as not applicable, for what comes after receipt', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const delivery = await seedDelivery(test.db, gateway, { acceptedAtMs, expects: 7 })
    await seedReport(test.db, delivery, { status: 'not_applicable', atMs: acceptedAtMs + 30 })
    for (const stage of ['applied', 'verified']) {
      const row = await askOne({ stage })
      assert.deepEqual([row.count, row.not_applicable, row.infinite], [0, 1, false])
    }
    assert.equal((await askOne()).count, 1)
  })

  it('measures verified from probes only', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const delivery = await seedDelivery(test.db, gateway, { acceptedAtMs, expects: 7 })
    await seedReport(test.db, delivery, { status: 'applied', atMs: acceptedAtMs + 30 })
    assert.equal((await askOne({ stage: 'verified' })).outstanding, 1)
    await seedReport(test.db, delivery, { stage: 'verified', status: 'verified', atMs: acceptedAtMs + 120 })
    assert.equal((await askOne({ stage: 'verified' })).p50_ms, 120)
  })

  it("sets the receiver's own pause apart, and not a pause by the hub or one begun after the deadline", async () => {
    const nowMs = clock.now()
    const hubPaused = { ...gateway, streamId: await seedStream(test.db, gateway.receiverId) }
    const pausedLate = { ...gateway, streamId: await seedStream(test.db, gateway.receiverId) }
    const setStatus = (streamId: string, status: string, by: string) =>
      test.db('streams').where({ stream_id: streamId }).update({ status, status_by: by })
    await setStatus(gateway.streamId, 'paused', 'receiver')
    await setStatus(hubPaused.streamId, 'paused', 'hub')
    await setStatus(pausedLate.streamId, 'paused', 'receiver')
    const holds = await test.db('stream_holds').orderBy('held_from')
    assert.deepEqual(
      holds.map((hold) => hold.stream_id),
      [gateway.streamId, pausedLate.streamId],
    )
    const shift = (streamId: string, agoMs: number) =>
      test
        .db('stream_holds')
        .where({ stream_id: streamId })
        .update({ held_from: toTimestamp(nowMs - agoMs) })
    await shift(gateway.streamId, 11 * MINUTE)
    await shift(pausedLate.streamId, 5 * MINUTE)
    const acceptedAtMs = nowMs - 10 * MINUTE
    for (const to of [gateway, hubPaused, pausedLate]) {
      await seedDelivery(test.db, to, { acceptedAtMs, place: 'queue' })
    }
    const before = await askOne()
    assert.deepEqual([before.paused, before.outstanding, before.count], [1, 2, 2])
    // Delivered after the receiver resumed: long, but not the hub's doing.
    await setStatus(gateway.streamId, 'enabled', 'receiver')
    await test.db('delivery_queue').where({ stream_id: gateway.streamId }).delete()
    await seedDelivery(test.db, gateway, { acceptedAtMs, receivedMs: 9 * MINUTE })
    const after = await askOne()
    assert.deepEqual([after.paused, after.max_ms], [1, null])
    assert.equal((await test.db('stream_holds').whereNull('held_until')).length, 1)
    await seedDelivery(test.db, gateway, { acceptedAtMs: nowMs + 1_000, receivedMs: 20 })
    const resumed = await askOne({ to: toTimestamp(nowMs + MINUTE) })
    assert.equal(resumed.max_ms, 20, 'what is accepted after resuming counts again')
  })

  it('groups by stream, type, source and point, with names', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const broker = await seedReceiver(test.db, 'broker')
    const idp = await seedSource(test.db, 'idp')
    await seedDelivery(test.db, gateway, { acceptedAtMs, sourceId: idp, receivedMs: 10 })
    await seedDelivery(test.db, gateway, {
      acceptedAtMs,
      sourceId: idp,
      receivedMs: 30,
      type: CREDENTIAL_CHANGE,
    })
    await seedDelivery(test.db, broker, { acceptedAtMs, sourceId: HUB_SOURCE_ID, receivedMs: 70 })
    const points = await ask({ group_by: 'point' })
    assert.deepEqual(points.map((item) => [item.point?.name, item.count, item.max_ms]).sort(), [
      ['broker', 1, 70],
      ['gateway', 2, 30],
    ])
    const all = await ask({ group_by: 'stream,event_type,source,point' })
    assert.equal(all.length, 3)
    const theirs = all.find((item) => item.stream_id === broker.streamId)
    assert.equal(theirs?.event_type, SESSION_REVOKED)
    assert.deepEqual(theirs?.source, { id: HUB_SOURCE_ID, name: 'hub' })
    assert.deepEqual(theirs?.point, { id: broker.receiverId, name: 'broker' })
    const types = await ask({ group_by: 'event_type' })
    assert.deepEqual(Object.keys(types[0] as Item).slice(0, 2), ['event_type', 'count'])
  })

  it('shows a receiver its own samples only', async () => {
    const acceptedAtMs = clock.now() - 10 * MINUTE
    const broker = await seedReceiver(test.db, 'broker')
    await seedDelivery(test.db, gateway, { acceptedAtMs })
    await seedDelivery(test.db, broker, { acceptedAtMs, place: 'queue' })
    await seedDelivery(test.db, broker, { acceptedAtMs, place: 'parked' })
    assert.equal((await askOne()).count, 3)
    const row = await askOne({}, gateway.receiverId)
    assert.deepEqual([row.count, row.outstanding], [1, 0])
    const long = await askOne({ from: toTimestamp(clock.now() - 2 * 86_400_000) }, gateway.receiverId)
    assert.deepEqual([long.count, long.outstanding], [1, 0])
    assert.deepEqual(await ask({ group_by: 'stream' }, randomUUID()), [])
  })

  it('takes the window by accept time, its end excluded', async () => {
    const edgeMs = Math.floor(clock.now() / 1000) * 1000 - 10 * MINUTE
    await seedDelivery(test.db, gateway, { acceptedAtMs: edgeMs })
    const count = async (fromMs: number, toMs: number) =>
      (await askOne({ from: toTimestamp(fromMs), to: toTimestamp(toMs) })).count
    assert.equal(await count(edgeMs, edgeMs + 1), 1)
    assert.equal(await count(edgeMs - 1, edgeMs), 0)
    assert.equal(await count(edgeMs + 1, edgeMs + 1000), 0)
  })

  it('takes the first window and the last one that there are', async () => {
    const none = { from: '1970-01-01T00:00:00Z', to: '1970-01-01T01:00:00Z' }
    assert.equal((await askOne(none)).count, 0)
    assert.equal((await askOne({ to: '9999-12-31T23:59:59.999Z' })).count, 0)
  })

  const bad: [string, Record<string, string | string[]>, RegExp][] = [
    ['a stage there is not', { stage: 'done' }, /stage must be one of received, applied, verified/],
    ['an unknown parameter', { groupby: 'stream' }, /groupby is not known/],
    ['an unknown group', { group_by: 'stream,colour' }, /group_by must be a comma-separated list of stream,/],
    ['a group named twice', { group_by: 'stream,stream' }, /at most once/],
    ['an empty group_by', { group_by: '' }, /leave it out/],
    ['a time without a zone', { from: '2026-11-22T08:00:00' }, /from must be an RFC 3339 time such as/],
    ['a time that is none', { to: 'yesterday' }, /to must be an RFC 3339 time/],
    [
      'an empty window',
      { from: '2026-11-22T08:00:00Z', to: '2026-11-22T08:00:00Z' },
      /from must be before to/,
    ],
    ['a from in the future', { from: '2999-01-01T00:00:00Z' }, /from must be before to/],
    ['a window of years', { from: '2020-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z' }, /at most 400 days/],
    [
      'a window before 1970',
      { from: '1960-01-01T00:00:00Z', to: '1960-01-01T01:00:00Z' },
      /the window must begin in 1970 or later/,
    ],
    [
      'a window that would begin before the year 1',
      { to: '0001-01-01T12:00:00Z' },
      /the window must begin in 1970 or later; from defaults to 24 hours before to/,
    ],
    ['a parameter given twice', { stage: ['received', 'applied'] }, /stage must be/],
  ]
  for (const [what, query, message] of bad) {
    it(`refuses ${what} and says what to write`, async () => {
      const answer = await request(app).get('/v1/time-to-revoke').query(query)
      assert.equal(answer.status, 400)
      assert.equal(answer.body.code, 'ERR_INVALID_REQUEST')
      assert.match(answer.body.message, message)
    })
  }
})
