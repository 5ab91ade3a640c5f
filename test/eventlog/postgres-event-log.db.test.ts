import assert from 'node:assert/strict'
import { type BatchHandler, BatchTaken, type LogBatch } from '../../src/eventlog/event-log.js'
import type { Worker } from '../../src/kernel/worker.js'
import { openPool, sqlRows } from '../../src/storage/database.js'
import { openPostgresLog } from '../conformance/event-log-rigs.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { createTestKeyStore, createTestSlots, makeEvent } from './log-fixtures.js'

describe('Postgres log', () => {
  let database: TestDatabase
  const keys = createTestKeyStore().open()
  const ending: (() => Promise<unknown>)[] = []

  beforeEach(async () => {
    database = await createTestDatabase()
  })
  afterEach(async () => {
    for (const end of ending.splice(0).reverse()) await end()
    await database.close()
  })

  function openLog(keepForRelay = false, db = database.db) {
    const slots = createTestSlots()
    const log = openPostgresLog({ keys, slots, db, brokers: [], topicPrefix: '' }, keepForRelay)
    ending.push(() => log.close())
    return { log, slots }
  }

  async function work(worker: Worker): Promise<Worker> {
    ending.push(() => worker.stop())
    await worker.start()
    return worker
  }

  const rows = () =>
    sqlRows<{ slot: number; relay: boolean }>(database.db, 'select slot, relay from event_log order by id')
  const closeAll: BatchHandler = (batch) => database.db.transaction((trx) => batch.close(trx, batch.items))

  it('throws BatchTaken when another process settled some of the batch first', async () => {
    const { log } = openLog()
    await log.append([makeEvent(), makeEvent()])
    let error: unknown
    const steal: BatchHandler = async (batch: LogBatch) => {
      await database.db.raw('delete from event_log where id = (select min(id) from event_log)')
      await closeAll(batch).catch((reason: unknown) => {
        error = reason
        throw reason
      })
    }
    const worker = await work(log.subscribe('urgent', steal))
    await waitUntil('the failure', () => error)
    assert.ok(error instanceof BatchTaken)
    await worker.stop()
    assert.equal((await rows()).length <= 1, true)
  })

  it('keeps closed rows for the relay when Kafka is configured, but not what it did not believe', async () => {
    const { log } = openLog(true)
    await log.append([makeEvent({ slot: 3 })])
    await database
      .db('event_log')
      .insert({ lane: 1, slot: 4, event_id: makeEvent().eventId, record: 'forged' })
    await work(log.subscribe('urgent', closeAll))
    await waitUntil('both to be closed', async () => (await rows()).length === 1)
    assert.deepEqual(await rows(), [{ slot: 3, relay: true }])
  })

  it('writes inside the transaction of the caller: nothing when that is rolled back', async () => {
    const { log } = openLog()
    const trx = await database.db.transaction()
    await log.appendIn(trx, [makeEvent()])
    await trx.rollback()
    assert.deepEqual(await rows(), [])
    await database.db.transaction((committed) => log.appendIn(committed, [makeEvent({ slot: 9 })]))
    assert.deepEqual(await rows(), [{ slot: 9, relay: false }])
  })

  it('reads only the slots that this process holds, and the others once it gets them', async () => {
    const { log, slots } = openLog()
    slots.set([1])
    await log.append([makeEvent({ slot: 1 }), makeEvent({ slot: 2 })])
    await work(log.subscribe('urgent', closeAll))
    await waitUntil('slot 1 to be settled', async () => (await rows()).length === 1)
    assert.deepEqual(await rows(), [{ slot: 2, relay: false }])
    slots.set([1, 2])
    await waitUntil('slot 2 to be settled', async () => (await rows()).length === 0)
  })

  it('refuses appends in time when the table is locked, and takes them again afterwards', async () => {
    const db = openPool(database.url, { name: 'locked', max: 3 })
    ending.push(() => db.destroy())
    const { log } = openLog(false, db)
    const lock = await database.db.transaction()
    await lock.raw('lock table event_log in access exclusive mode')
    const startedMs = performance.now()
    await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE', retryAfterS: 2 })
    assert.ok(performance.now() - startedMs < 30_000)
    assert.equal(log.health().ok, false)
    await lock.rollback()
    await log.append([makeEvent()])
    assert.equal(log.health().ok, true)
  })

  it('goes on reading after its connections were cut', async () => {
    const db = openPool(database.url, { name: 'cut', max: 3 })
    ending.push(() => db.destroy())
    const { log } = openLog(false, db)
    await work(log.subscribe('urgent', closeAll))
    await log.append([makeEvent()])
    await waitUntil('the first to be settled', async () => (await rows()).length === 0)
    await database.db.raw(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'firebreak cut'",
    )
    await waitUntil('an append', () =>
      log.append([makeEvent()]).then(
        () => true,
        () => false,
      ),
    )
    await waitUntil('the second to be settled', async () => (await rows()).length === 0)
  })

  it('refuses to start on a server that may lose what it has confirmed', async () => {
    const url = new URL(database.url)
    url.searchParams.set('options', '-c synchronous_commit=off')
    const db = openPool(url.href, { name: 'unsafe', max: 1 })
    ending.push(() => db.destroy())
    await assert.rejects(openLog(false, db).log.start(), {
      code: 'ERR_STARTUP',
      message: /synchronous_commit/,
    })
  })

  it('says that Postgres is away when it is', async () => {
    const db = openPool('postgres://nobody:x@127.0.0.1:1/none', { name: 'away', max: 1 })
    ending.push(() => db.destroy())
    const { log } = openLog(false, db)
    await assert.rejects(log.start(), { code: 'ERR_LOG_UNAVAILABLE' })
    await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE' })
  })
})
