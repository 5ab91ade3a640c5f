import assert from 'node:assert/strict'
import type { BatchHandler, EventLog } from '../../src/eventlog/event-log.js'
import { createFailoverEventLog } from '../../src/eventlog/failover-event-log.js'
import { createLogRelay } from '../../src/eventlog/log-relay.js'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import type { Worker } from '../../src/kernel/worker.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { openPool, sqlRows } from '../../src/storage/database.js'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { newTopicPrefix, openKafkaLog, openPostgresLog } from '../conformance/event-log-rigs.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { eventIdOf, readTopic } from './kafka-topic-reader.js'
import { clock, createTestKeyStore, createTestSlots, ISSUER, makeEvent } from './log-fixtures.js'

const RETURN_AFTER_MS = 500

describe('failover event log', () => {
  let broker: KafkaServer
  let database: TestDatabase
  let prefix: string
  let metrics: Metrics
  let ending: (() => Promise<void>)[] = []
  const store = createTestKeyStore()

  before(async () => {
    broker = await startKafka()
  })
  beforeEach(async () => {
    database = await createTestDatabase()
    await database.db.raw('create table effects (n bigserial, event_id uuid unique, slot int, log text)')
    prefix = newTopicPrefix()
    metrics = createMetrics()
  })
  afterEach(async () => {
    for (const end of ending.reverse()) await end()
    ending = []
    await database.close()
  })
  after(() => broker.remove())

  function openLogs(brokers = broker.brokers, db = database.db) {
    const parts = { keys: store.open(), slots: createTestSlots(), db, brokers, topicPrefix: prefix }
    const kafka = openKafkaLog(parts, { answerTimeoutMs: 500 })
    const postgres = openPostgresLog(parts, true)
    const codec = createRecordCodec({ keys: parts.keys, issuer: ISSUER, clock, maxAgeMs: 1e12 })
    const common = {
      codec,
      clock,
      logger: silentLogger,
      metrics,
      returnAfterMs: RETURN_AFTER_MS,
      probeIntervalMs: 50,
    }
    const log = createFailoverEventLog({ kafka, postgres, db, ...common })
    ending.push(() => log.close())
    return { log, kafka }
  }

  async function work(worker: Worker): Promise<void> {
    ending.push(() => worker.stop())
    await worker.start()
  }

  const handler: BatchHandler = async (batch) => {
    await database.db.transaction(async (trx) => {
      for (const { event } of batch.items) {
        const row = [event?.eventId ?? '', event?.slot ?? 0, batch.from]
        await trx.raw(
          'insert into effects (event_id, slot, log) values (?, ?, ?) on conflict do nothing',
          row,
        )
      }
      await batch.close(trx, batch.items)
    })
  }

  const effects = () =>
    sqlRows<{ event_id: string; log: string }>(database.db, 'select event_id, log from effects order by n')

  async function assertAllStored(events: readonly SecurityEvent[]): Promise<void> {
    await waitUntil(`${events.length} effects`, async () => (await effects()).length >= events.length, {
      deadlineMs: 40_000,
    })
    const stored = (await effects()).map((row) => row.event_id).sort()
    assert.deepEqual(stored, events.map((event) => event.eventId).sort())
  }

  const active = async () => /^firebreak_log_failover_active 1$/m.test(await metrics.render())

  /** Appends one by one; each must resolve soon, whatever happens to the broker meanwhile. */
  async function appendAll(log: EventLog, count: number): Promise<SecurityEvent[]> {
    const events = Array.from({ length: count }, (_, index) => makeEvent({ slot: index % 4 }))
    for (const event of events) {
      const startedMs = performance.now()
      await log.append([event])
      const tookMs = performance.now() - startedMs
      assert.ok(tookMs < 20_000, `an append took ${tookMs} ms`)
    }
    return events
  }

  for (const { title, fail, heal } of [
    { title: 'hangs (SIGSTOP)', fail: () => broker.pause(), heal: async () => broker.resume() },
    { title: 'dies (SIGKILL)', fail: () => broker.kill(), heal: () => broker.start() },
  ]) {
    it(`goes on while the broker ${title}, loses nothing, keeps order and returns to Kafka`, async () => {
      const { log } = openLogs()
      await log.start()
      await work(log.subscribe('urgent', handler))
      const before = await appendAll(log, 20)
      await assertAllStored(before)
      assert.equal(log.detour(), undefined)
      const appending = appendAll(log, 30)
      const [, during] = await Promise.all([fail(), appending])
      const down = await appendAll(log, 20)
      assert.equal(await active(), true)
      assert.match(log.health().reason ?? '', /through Postgres/)
      const { sinceMonotonicMs = Number.POSITIVE_INFINITY, reason = '' } = log.detour() ?? {}
      assert.ok(sinceMonotonicMs <= clock.monotonicMs() && reason !== '')
      assert.equal(log.health().ok, true)
      await assertAllStored([...before, ...during, ...down])
      await heal()
      await waitUntil('the return to Kafka', async () => !(await active()), { deadlineMs: 40_000 })
      assert.equal(log.detour(), undefined)
      const after = await appendAll(log, 8)
      const all = [...before, ...during, ...down, ...after]
      await assertAllStored(all)
      const last = (await effects()).slice(-8)
      assert.deepEqual(new Set(last.map((row) => row.log)), new Set(['kafka']))
      for (const slot of [0, 1, 2, 3]) {
        const order = all.filter((event) => event.slot === slot).map((event) => event.eventId)
        const stored = (await effects())
          .map((row) => row.event_id)
          .filter((eventId) => order.includes(eventId))
        assert.deepEqual(stored, order)
      }
    })
  }

  it('lets what Kafka held grow older while the broker is away', async () => {
    const { log } = openLogs()
    await log.start()
    await log.append([makeEvent({ lane: 'urgent' })])
    const urgent = async () => (await log.lag()).find(({ lane }) => lane === 'urgent')
    await waitUntil('it is seen', async () => (await urgent())?.records === 1)
    await broker.pause()
    try {
      await log.append([makeEvent({ lane: 'control' })])
      const { oldestAgeS = Number.POSITIVE_INFINITY } = (await urgent()) ?? {}
      await waitUntil('it is older', async () => ((await urgent())?.oldestAgeS ?? 0) > oldestAgeS + 1)
      assert.equal((await urgent())?.records, 1)
      const routine = (await log.lag()).find(({ lane }) => lane === 'routine')
      assert.deepEqual(routine, { lane: 'routine', records: 0, oldestAgeS: 0 })
    } finally {
      broker.resume()
    }
  })

  it('starts and works with no broker at all', async () => {
    const port = await pickFreePort()
    const { log } = openLogs([`127.0.0.1:${port}`])
    await log.start()
    await work(log.subscribe('urgent', handler))
    await assertAllStored(await appendAll(log, 5))
    assert.equal(log.health().ok, true)
    const lags = await log.lag()
    assert.deepEqual(
      lags.map(({ isPartial }) => isPartial),
      lags.map(() => true),
      'nobody knows what Kafka holds',
    )
  })

  it('goes on with Kafka while Postgres is away, and refuses when both are', async () => {
    const away = openPool('postgres://nobody:x@127.0.0.1:1/none', { name: 'away', max: 1 })
    ending.push(() => away.destroy())
    const { log, kafka } = openLogs(broker.brokers, away)
    await kafka.start()
    const event = makeEvent()
    await log.append([event])
    const stored = (await readTopic(broker.brokers, `${prefix}.urgent`)).map(eventIdOf)
    assert.deepEqual(stored, [event.eventId])
    await broker.pause()
    try {
      await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE', retryAfterS: 2 })
      assert.equal(log.health().ok, false)
    } finally {
      broker.resume()
    }
  })

  it('copies to Kafka what went through Postgres, once it is fanned out', async () => {
    const { log, kafka } = openLogs()
    await log.start()
    await work(log.subscribe('urgent', handler))
    const [direct] = await appendAll(log, 1)
    const lease = createTestSlots()
    const relay = createLogRelay({ db: database.db, kafka, lease, logger: silentLogger, metrics, pollMs: 50 })
    await broker.pause()
    const around = await appendAll(log, 3).finally(() => broker.resume())
    await assertAllStored([direct as SecurityEvent, ...around])
    const kept = await sqlRows<{ relay: boolean }>(database.db, 'select relay from event_log')
    assert.deepEqual(kept, [{ relay: true }, { relay: true }, { relay: true }])
    await work(relay)
    const remaining = () => sqlRows(database.db, 'select 1 from event_log')
    await waitUntil('an empty table', async () => (await remaining()).length === 0)
    const inKafka = new Set((await readTopic(broker.brokers, `${prefix}.urgent`)).map(eventIdOf))
    for (const event of [direct, ...around]) assert.ok(inKafka.has(event?.eventId ?? ''))
    await assertAllStored([direct as SecurityEvent, ...around])
  })
})
