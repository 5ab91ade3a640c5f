import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createLatencyFolder } from '../../src/enforcement/latency-folder.js'
import { createLatencyHistogramRepository } from '../../src/enforcement/latency-histogram-repository.js'
import { HOUR_MS, hourOf } from '../../src/enforcement/latency-hours.js'
import { STAGES, type Stage } from '../../src/enforcement/stages.js'
import {
  createTimeToRevokeReadModel,
  type Grouping,
  type TimeToRevoke,
} from '../../src/enforcement/time-to-revoke-read-model.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { STAGE_DEADLINES } from './enforcement-fixture.js'
import {
  CREDENTIAL_CHANGE,
  ensureDays,
  SESSION_REVOKED,
  type SeedReceiver,
  seedDelivery,
  seedReceiver,
  seedReport,
  seedSource,
} from './seed.js'

describe('the latency folder', () => {
  let test: TestDatabase
  let points: SeedReceiver[]
  let source: string
  /** Half past an hour; the tests move it. */
  let nowMs: number
  const clock = { now: () => nowMs, monotonicMs: () => performance.now() }
  const startMs = hourOf(Date.now()) + HOUR_MS / 2

  before(async () => {
    test = await createTestDatabase()
    points = [await seedReceiver(test.db, 'gateway'), await seedReceiver(test.db, 'broker')]
    source = await seedSource(test.db, 'idp')
    await ensureDays(test.db, startMs - 4 * 86_400_000, startMs + 86_400_000)
  })
  after(() => test.close())
  beforeEach(async () => {
    nowMs = startMs
    await clear(test.db)
  })

  const newFolder = (isLeader = () => true) =>
    createLatencyFolder({
      repository: createLatencyHistogramRepository(test.db, STAGE_DEADLINES),
      isLeader,
      clock,
      logger: silentLogger,
    })
  async function ask(
    exact: boolean,
    query: { stage?: Stage; groupBy?: Grouping[]; fromMs?: number; toMs?: number; receiverId?: string } = {},
  ): Promise<TimeToRevoke[]> {
    const stage = query.stage ?? 'received'
    const model = createTimeToRevokeReadModel(test.db, {
      exactWindowMs: exact ? Number.POSITIVE_INFINITY : 0,
    })
    const { fromMs = startMs - 72 * HOUR_MS, toMs = nowMs + 1, groupBy = [], ...own } = query
    return model.query(
      { stage, groupBy, fromMs, toMs, ...own },
      { nowMs, deadlineMs: STAGE_DEADLINES[stage], limit: 100 },
    )
  }
  const gateway = (): SeedReceiver => points[0] as SeedReceiver
  const histogramRows = async (): Promise<number> => (await test.db('latency_histograms')).length

  it('folds each hour that ended more than ten minutes ago, and no other', async () => {
    const firstMs = startMs - 5 * HOUR_MS
    await seedDelivery(test.db, gateway(), { acceptedAtMs: firstMs })
    await seedDelivery(test.db, gateway(), { acceptedAtMs: startMs })
    assert.equal(await newFolder().fold(), 5)
    const hours = await test.db('latency_folded_hours').orderBy('hour').pluck('hour')
    assert.equal(hours[0].getTime(), hourOf(firstMs))
    assert.equal(hours.at(-1).getTime(), hourOf(startMs) - HOUR_MS)
    assert.equal(await newFolder().fold(), 0, 'folded hours stay folded')
  })

  it('answers a folded window from histograms alone', async () => {
    const acceptedAtMs = startMs - 30 * HOUR_MS
    for (const receivedMs of [10, 20, 400])
      await seedDelivery(test.db, gateway(), { acceptedAtMs, receivedMs })
    await newFolder().fold()
    await sqlRows(test.db, 'truncate deliveries')
    const [row] = await ask(false)
    assert.equal(row?.count, 3)
    assert.ok(Number(row?.p50Ms) >= 20 && Number(row?.p50Ms) <= 20 * 1.0906, String(row?.p50Ms))
    assert.equal(row?.maxMs, 400)
    assert.equal(row?.p99Ms, 400, 'a bucket never answers more than the largest sample')
  })

  it('folds an hour again when a delivery in it ends late, without being told', async () => {
    const acceptedAtMs = startMs - 3 * HOUR_MS
    await seedDelivery(test.db, gateway(), { acceptedAtMs, place: 'queue' })
    const folder = newFolder()
    await folder.fold()
    assert.deepEqual((await ask(false)).map(counts), [[1, 1]])
    nowMs += 120_000
    await sqlRows(test.db, 'truncate delivery_queue')
    const tookMs = nowMs - acceptedAtMs - 30_000
    await seedDelivery(test.db, gateway(), { acceptedAtMs, receivedMs: tookMs })
    assert.equal(await folder.fold(), 1)
    assert.deepEqual((await ask(false)).map(counts), [[1, 0]])
    // Results near the last look are looked at twice, in case they were committed after it.
    nowMs += 300_000
    await folder.fold()
    nowMs += 60_000
    assert.equal(await folder.fold(), 0)
  })

  it('finds what ended late while no process led', async () => {
    const acceptedAtMs = startMs - 3 * HOUR_MS
    await newFolder().fold()
    await seedDelivery(test.db, gateway(), { acceptedAtMs: startMs - 4 * HOUR_MS })
    await newFolder().fold()
    nowMs += HOUR_MS / 3
    await seedDelivery(test.db, gateway(), { acceptedAtMs, receivedMs: nowMs - 60_000 - acceptedAtMs })
    assert.ok((await newFolder().fold()) >= 1)
    assert.deepEqual((await ask(false)).map(counts), [[2, 0]])
  })

  it('finds an open delivery that fan-out reached late', async () => {
    await seedDelivery(test.db, gateway(), { acceptedAtMs: startMs - 4 * HOUR_MS })
    const folder = newFolder()
    await folder.fold()
    nowMs += 120_000
    const late = await seedDelivery(test.db, gateway(), {
      acceptedAtMs: startMs - 3 * HOUR_MS,
      place: 'queue',
    })
    await test
      .db('delivery_queue')
      .where({ event_id: late.eventId })
      .update({ queued_at: new Date(nowMs) })
    assert.equal(await folder.fold(), 1)
    assert.deepEqual((await ask(false)).map(counts), [[2, 1]])
  })

  it('reads an hour raw while it waits to be folded again', async () => {
    const acceptedAtMs = startMs - 3 * HOUR_MS
    const delivery = await seedDelivery(test.db, gateway(), { acceptedAtMs })
    await newFolder().fold()
    await seedReport(test.db, delivery, { status: 'applied', atMs: acceptedAtMs + 90 })
    assert.deepEqual((await ask(false, { stage: 'applied' })).map(counts), [[1, 1]])
    await test.db('latency_dirty_hours').insert({ hour: new Date(hourOf(acceptedAtMs)) })
    assert.deepEqual((await ask(false, { stage: 'applied' })).map(counts), [[1, 0]])
    assert.equal(await newFolder().fold(), 1)
    assert.equal((await test.db('latency_dirty_hours')).length, 0)
    assert.deepEqual((await ask(false, { stage: 'applied' })).map(counts), [[1, 0]])
  })

  it('keeps a mark that was set while the hour was being folded', async () => {
    const hour = new Date(hourOf(startMs - 3 * HOUR_MS))
    await seedDelivery(test.db, gateway(), { acceptedAtMs: startMs - 3 * HOUR_MS })
    await test.db('latency_dirty_hours').insert({ hour })
    // Holds the fold back at its first write, after it has read the mark.
    const holder = await test.db.transaction()
    await holder('latency_folded_hours').insert({ hour })
    const folding = newFolder().fold()
    await untilBlocked(test.db)
    await test
      .db('latency_dirty_hours')
      .where({ hour })
      .update({ marked_at: test.db.raw('clock_timestamp()') })
    await holder.rollback()
    await folding
    assert.equal((await test.db('latency_dirty_hours')).length, 1)
    assert.equal(await newFolder().fold(), 1)
    assert.equal((await test.db('latency_dirty_hours')).length, 0)
  })

  it('rebuilds the same histograms from raw rows, also beside a second rebuild', async () => {
    for (const stream of points) {
      for (let index = 0; index < 30; index += 1) {
        await seedDelivery(test.db, stream, {
          acceptedAtMs: startMs - (2 + (index % 5)) * HOUR_MS,
          receivedMs: index * 7,
        })
      }
    }
    const folder = newFolder()
    await folder.fold()
    const cells = () =>
      test.db('latency_histograms').orderBy(['hour', 'stage', 'type', 'source_id', 'stream_id', 'bucket'])
    const before = await cells()
    assert.ok(before.length > 20)
    await test.db('latency_histograms').update({ count: 99 })
    const folds = await Promise.all([
      folder.rebuildHistograms(startMs - 8 * HOUR_MS, startMs),
      newFolder().rebuildHistograms(startMs - 8 * HOUR_MS, startMs),
    ])
    assert.deepEqual(folds, [8, 8])
    assert.deepEqual(await cells(), before)
  })

  it('keeps the histogram of an hour whose raw rows are past retention', async () => {
    const oldMs = startMs - 40 * 86_400_000
    await ensureDays(test.db, oldMs, oldMs)
    await seedDelivery(test.db, gateway(), { acceptedAtMs: oldMs })
    const folder = newFolder()
    await folder.rebuildHistograms(hourOf(oldMs), hourOf(oldMs) + HOUR_MS)
    const rows = await histogramRows()
    assert.ok(rows > 0)
    const day = new Date(oldMs).toISOString().slice(0, 10).replaceAll('-', '')
    await sqlRows(test.db, `drop table deliveries_${day}`)
    await folder.rebuildHistograms(hourOf(oldMs), hourOf(oldMs) + HOUR_MS)
    assert.equal(await histogramRows(), rows)
  })

  it('answers from sums without streams where no stream is asked for', async () => {
    const acceptedAtMs = startMs - 30 * HOUR_MS
    for (const point of points) await seedDelivery(test.db, point, { acceptedAtMs, receivedMs: 20 })
    await newFolder().fold()
    const receiverId = gateway().receiverId
    await sqlRows(test.db, 'truncate latency_histograms')
    assert.deepEqual((await ask(false)).map(counts), [[2, 0]])
    assert.deepEqual((await ask(false, { groupBy: ['event_type'] })).map(counts), [[2, 0]])
    assert.deepEqual(await ask(false, { groupBy: ['stream'] }), [])
    assert.deepEqual((await ask(false, { receiverId })).map(counts), [[0, 0]])
  })

  it('reads what a release without those sums has folded from its histograms', async () => {
    const acceptedAtMs = startMs - 30 * HOUR_MS
    await seedDelivery(test.db, gateway(), { acceptedAtMs })
    await newFolder().fold()
    // As it writes an hour that it folds again.
    await test.db('latency_histograms').update({ count: 7 })
    await sqlRows(test.db, "update latency_folded_hours set folded_at = folded_at + interval '1 minute'")
    const countsOf = async () => (await ask(false)).map((row) => row.count)
    assert.deepEqual(await countsOf(), [7])
    // The next round sums them.
    await newFolder().fold()
    await sqlRows(test.db, 'truncate latency_histograms')
    assert.deepEqual(await countsOf(), [7])
  })

  it('answers a day exactly, unless it holds too many samples', async () => {
    const acceptedAtMs = startMs - 5 * HOUR_MS
    for (const receivedMs of [100, 1_001])
      await seedDelivery(test.db, gateway(), { acceptedAtMs, receivedMs })
    await newFolder().fold()
    const p50 = async (exactSamples: number, receiverId?: string) => {
      const [row] = await createTimeToRevokeReadModel(test.db, { exactSamples }).query(
        {
          stage: 'received',
          groupBy: [],
          fromMs: nowMs - 24 * HOUR_MS,
          toMs: nowMs,
          ...(receiverId !== undefined && { receiverId }),
        },
        { nowMs, deadlineMs: STAGE_DEADLINES.received, limit: 1 },
      )
      return row?.p50Ms
    }
    assert.equal(await p50(2), 100)
    const folded = await p50(1)
    assert.ok(folded && folded > 100 && folded < 110, String(folded))
    // What others have does not change how a receiver is answered.
    await seedDelivery(test.db, points[1] as SeedReceiver, { acceptedAtMs, receivedMs: 100 })
    await newFolder().rebuildHistograms(hourOf(acceptedAtMs), hourOf(acceptedAtMs) + HOUR_MS)
    assert.equal(await p50(1, points[1]?.receiverId), 100)
    assert.notEqual(await p50(1, gateway().receiverId), 100)
  })

  it('folds as a worker only while it leads, and stops when told', async () => {
    await seedDelivery(test.db, gateway(), { acceptedAtMs: startMs - 2 * HOUR_MS })
    const follower = newFolder(() => false)
    await follower.start()
    await follower.stop()
    assert.equal(await histogramRows(), 0)
    const leader = newFolder()
    await leader.start()
    while ((await histogramRows()) === 0) await new Promise((resolve) => setImmediate(resolve))
    await leader.stop()
    assert.deepEqual(leader.health(), { ok: true })
  })

  it('answers from histograms what raw rows answer: counts exactly, quantiles within a bucket', async () => {
    const sample = fc.record({
      agoMs: fc.integer({ min: 0, max: 50 * HOUR_MS }),
      point: fc.nat({ max: 1 }),
      type: fc.constantFrom(SESSION_REVOKED, CREDENTIAL_CHANGE),
      place: fc.constantFrom(
        'deliveries' as const,
        'deliveries' as const,
        'queue' as const,
        'parked' as const,
      ),
      outcome: fc.constantFrom('received', 'received', 'received', 'superseded', 'deleted', 'expired'),
      receivedMs: fc.integer({ min: -5, max: 100_000 }),
      expects: fc.constantFrom(0, 1, 3, 7),
      report: fc.option(
        fc.record({
          status: fc.constantFrom('applied', 'failed', 'not_applicable'),
          ms: fc.nat({ max: 90_000 }),
        }),
      ),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(sample, { minLength: 1, maxLength: 40 }),
        fc.nat({ max: 20 }),
        async (samples, cut) => {
          await clear(test.db)
          for (const each of samples) {
            const acceptedAtMs = startMs - each.agoMs
            const delivery = await seedDelivery(test.db, points[each.point] as SeedReceiver, {
              ...each,
              acceptedAtMs,
              sourceId: source,
              deliveredMs: Math.abs(each.receivedMs) / 2,
            })
            if (each.report) {
              const { status, ms } = each.report
              await seedReport(test.db, delivery, { status, atMs: acceptedAtMs + ms })
            }
          }
          await newFolder().fold()
          for (const stage of STAGES) {
            const query = {
              stage,
              fromMs: startMs - (30 + cut) * HOUR_MS - 1234,
              groupBy: ['point', 'event_type'] as Grouping[],
            }
            compare(await ask(false, query), await ask(true, query))
            compare(await ask(false, { ...query, groupBy: [] }), await ask(true, { ...query, groupBy: [] }))
            const bySource = { ...query, groupBy: ['event_type', 'source'] as Grouping[] }
            compare(await ask(false, bySource), await ask(true, bySource))
          }
        },
      ),
      { numRuns: 12 },
    )
  })
})

const counts = (row: TimeToRevoke): number[] => [row.count, row.outstanding]

function compare(folded: TimeToRevoke[], raw: TimeToRevoke[]): void {
  const quantiles = ['p50Ms', 'p90Ms', 'p99Ms', 'sourceDelayP50Ms', 'hubP50Ms'] as const
  const without = (row: TimeToRevoke) =>
    Object.fromEntries(Object.entries(row).filter(([name]) => !quantiles.includes(name as 'p50Ms')))
  assert.deepEqual(folded.map(without), raw.map(without))
  folded.forEach((row, index) => {
    for (const name of quantiles) {
      const exact = raw[index]?.[name]
      const answered = row[name]
      if (exact === null || exact === undefined) assert.equal(answered, null, name)
      else
        assert.ok(
          answered !== null && answered >= exact * 0.999999 && answered <= exact * 1.0906 + 0.001,
          `${name} ${answered} ${exact}`,
        )
    }
  })
}

async function clear(db: Database): Promise<void> {
  await sqlRows(
    db,
    `truncate deliveries, delivery_queue, parked, acknowledgements, stream_holds, latency_histograms, latency_rollups,
      latency_folded_hours, latency_dirty_hours`,
  )
}

async function untilBlocked(db: Database): Promise<void> {
  for (;;) {
    const [row] = await sqlRows<{ blocked: number }>(
      db,
      `select count(*) as blocked from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
    if ((row?.blocked ?? 0) > 0) return
  }
}
