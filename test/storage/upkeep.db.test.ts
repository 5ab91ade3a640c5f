import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parkedRepository } from '../../src/delivery/parked-repository.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createClockSync } from '../../src/storage/clock-sync.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { checkDatabase } from '../../src/storage/database-check.js'
import { createLeases } from '../../src/storage/leases.js'
import { migrate } from '../../src/storage/migrator.js'
import { createUpkeep, dropOldDays, ensureDayPartition } from '../../src/storage/partitions.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const RETENTION = { dedupeWindowDays: 14, retentionDays: 30, contentRetentionDays: 30 }

describe('storage: upkeep, clock and readiness', () => {
  let test: TestDatabase
  beforeEach(async () => {
    test = await createTestDatabase()
  })
  afterEach(() => test.close())

  async function addOldDays(db: Database): Promise<void> {
    await db.raw(
      "select ensure_day_partitions((now() at time zone 'utc')::date - 33, (now() at time zone 'utc')::date - 2)",
    )
  }

  /** Days ago of the partitions of one table, oldest first. */
  async function daysAgo(db: Database, parent: string): Promise<number[]> {
    const rows = await sqlRows<{ ago: number }>(
      db,
      `select (now() at time zone 'utc')::date - to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') ago
       from pg_inherits where inhparent = ?::regclass order by 1 desc`,
      [parent],
    )
    return rows.map((row) => row.ago)
  }

  async function openDelivery(db: Database, ago: number): Promise<void> {
    await db.raw(
      `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, accepted_at, expects)
       values (?, 1, ?, (now() at time zone 'utc')::date - ?::int, ?, 0, 't', 'neutral', 'x', ?, now(), 0)`,
      [randomUUID(), randomUUID(), ago, randomUUID(), randomUUID()],
    )
  }

  it('drops days past their retention, keys of repeats sooner than events', async () => {
    await addOldDays(test.db)
    const erased: string[] = []
    await dropOldDays(test.db, { ...RETENTION, eraseDaysBefore: async (_, day) => erased.push(day) })
    assert.equal((await daysAgo(test.db, 'event_keys'))[0], 14)
    for (const table of ['events', 'deliveries', 'acknowledgements'])
      assert.equal((await daysAgo(test.db, table))[0], 30)
    assert.equal((await daysAgo(test.db, 'events')).at(-1), -7)
    assert.equal(erased.length, 1)
    assert.equal(erased[0], new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10))
  })

  it('keeps a day, and those after it, while a delivery of that day is open', async () => {
    await addOldDays(test.db)
    await openDelivery(test.db, 32)
    await dropOldDays(test.db, RETENTION)
    assert.equal((await daysAgo(test.db, 'events'))[0], 32)
    await test.db('delivery_queue').delete()
    await dropOldDays(test.db, RETENTION)
    assert.equal((await daysAgo(test.db, 'events'))[0], 30)
  })

  it('drops nothing when erasing the keys fails', async () => {
    await addOldDays(test.db)
    const eraseDaysBefore = () => Promise.reject(new Error('no'))
    await assert.rejects(dropOldDays(test.db, { ...RETENTION, eraseDaysBefore }))
    assert.equal((await daysAgo(test.db, 'events'))[0], 33)
  })

  it('makes the days ahead, by the process that holds the lease', async () => {
    await test.db.raw(
      "do $$ begin execute 'drop table events_' || to_char((now() at time zone 'utc')::date + 7, 'YYYYMMDD'); end $$",
    )
    const options = { db: test.db, clock: createClock(), logger: silentLogger, processId: randomUUID() }
    const lease = createLeases({ ...options, kind: 'upkeep', units: 1 })
    const upkeep = createUpkeep({ ...RETENTION, ...options, lease })
    await upkeep.start()
    await upkeep.stop()
    assert.equal((await daysAgo(test.db, 'events')).at(-1), -6)
    await lease.start()
    const again = createUpkeep({ ...RETENTION, ...options, lease })
    await again.start()
    await again.stop()
    await lease.stop()
    assert.equal((await daysAgo(test.db, 'events')).at(-1), -7)
  })

  const TABLES = ['event_keys', 'events', 'deliveries', 'acknowledgements']

  it('makes a day beside whoever reads all tables for long, such as a backup, and nobody waits for that', async () => {
    const reader = await test.db.transaction()
    try {
      await reader.raw('lock table event_keys, events, deliveries, acknowledgements in access share mode')
      await ensureDayPartition(test.db, '2027-03-01')
      await test.db.raw(
        `insert into event_keys (key_hash, day, content_hash, event_id) values ('a', '2027-03-01', 'b', gen_random_uuid())`,
      )
      for (const table of TABLES) assert.ok(((await daysAgo(test.db, table)).at(-1) ?? 0) < -7, table)
    } finally {
      await reader.rollback()
    }
  })

  it('gives a day all that its table has: columns, keys, indexes, checks', async () => {
    await ensureDayPartition(test.db, '2027-03-01')
    const facts = (suffix: string) =>
      Promise.all(
        TABLES.map((table) =>
          sqlRows(
            test.db,
            `select (select count(*) from pg_index i join pg_inherits h on h.inhrelid = i.indexrelid where i.indrelid = c.oid) attached,
               (select count(*) from pg_index i where i.indrelid = c.oid) indexes,
               (select count(*) from pg_constraint k where k.conrelid = c.oid and k.contype <> 'n') constraints,
               (select string_agg(a.attname || a.attnotnull || a.atthasdef, ' ' order by a.attname) from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) columns
             from pg_class c where c.oid = to_regclass(?)`,
            [`${table}${suffix}`],
          ),
        ),
      )
    const made = (await facts('_20270301')) as { indexes: number; attached: number }[][]
    const parents = (await facts('')) as { indexes: number }[][]
    const bare = (rows: object[][]) => rows.map(([row]) => ({ ...row, attached: 0 }))
    assert.deepEqual(bare(made), bare(parents))
    for (const [row] of made) assert.equal(row?.attached, row?.indexes)
  })

  it('starts while somebody keeps the tables to himself, as long as today and tomorrow are there', async () => {
    const dropDay = (ahead: number) =>
      test.db.raw(
        `do $$ begin execute 'drop table events_' || to_char((now() at time zone 'utc')::date + ${ahead}, 'YYYYMMDD'); end $$`,
      )
    const startBesides = async () => {
      const holder = await test.db.transaction()
      try {
        await holder.raw('lock table events in access exclusive mode')
        await migrate(test.db)
      } finally {
        await holder.rollback()
      }
    }
    await dropDay(7)
    await startBesides()
    await dropDay(1)
    await assert.rejects(startBesides(), { code: '55P03' })
  }).timeout(20_000)

  it('has settled parked SETs dropped past the retention, and no open ones', async () => {
    const ages = { 'settled long ago': 31, 'settled lately': 29, open: null }
    for (const [code, settled] of Object.entries(ages)) {
      await test.db.raw(
        `insert into parked (id, kind, code, reason, parked_at, resolved_at)
         values (?, 'delivery', ?, 'r', now() - interval '40 days', now() - ?::int * interval '1 day')`,
        [randomUUID(), code, settled],
      )
    }
    await dropOldDays(test.db, { ...RETENTION, eraseDaysBefore: parkedRepository.forgetSettled })
    assert.deepEqual((await test.db('parked').pluck('code')).sort(), ['open', 'settled lately'])
  })

  it("carries the database's clock into the process, whatever the machine's clock says", async () => {
    const clock = createClock()
    clock.adjust(0, 0)
    const sync = createClockSync({ db: test.db, clock, metrics: createMetrics(), logger: silentLogger })
    const { movedMs, uncertaintyMs } = await sync.syncOnce()
    assert.ok(Math.abs(movedMs) > 1_000_000)
    const [row] = await sqlRows<{ ms: number }>(
      test.db,
      'select (extract(epoch from clock_timestamp()) * 1000)::float8 ms',
    )
    const ahead = clock.now() - (row?.ms ?? 0)
    assert.ok(ahead >= -uncertaintyMs - 1 && ahead < 20_000, `ahead by ${ahead} ms`)
    await sync.start()
    assert.deepEqual(sync.health(), { ok: true })
    await sync.stop()
  })

  it('finds a database ready, read-only, or gone', async () => {
    assert.deepEqual(await checkDatabase(test.db), { ok: true })
    await test.db.raw(
      "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$",
    )
    const readOnly = openPool(test.url, { name: 'test', max: 1 })
    assert.match((await checkDatabase(readOnly)).reason ?? '', /read-only/)
    await readOnly.destroy()
    const nowhere = openPool('postgres://x:y@127.0.0.1:9/none', { name: 'test', max: 1 })
    assert.match((await checkDatabase(nowhere)).reason ?? '', /cannot be reached/)
    await nowhere.destroy()
  })
})
