import assert from 'node:assert/strict'
import type { BatchHandler } from '../../src/eventlog/event-log.js'
import type { KafkaEventLog, KafkaEventLogOptions } from '../../src/eventlog/kafka-event-log.js'
import type { Worker } from '../../src/kernel/worker.js'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { newTopicPrefix, openKafkaLog } from '../conformance/event-log-rigs.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { waitUntil } from '../support/wait.js'
import { eventIdOf, readTopic } from './kafka-topic-reader.js'
import { createTestKeyStore, createTestSlots, makeEvent } from './log-fixtures.js'

describe('Kafka log, when Kafka misbehaves', () => {
  let broker: KafkaServer
  let proxy: TcpProxy
  let database: TestDatabase
  let prefix: string
  const store = createTestKeyStore()
  const logs: KafkaEventLog[] = []
  const workers: Worker[] = []

  before(async () => {
    const proxyPort = await pickFreePort()
    proxy = await startTcpProxy({ targetPort: () => broker.proxyTargetPort, port: proxyPort })
    broker = await startKafka({ advertisedProxyPort: proxyPort })
    database = await createTestDatabase()
  })
  beforeEach(() => {
    prefix = newTopicPrefix()
  })
  afterEach(async () => {
    proxy.release()
    await Promise.all(workers.splice(0).map((worker) => worker.stop()))
    await Promise.all(logs.splice(0).map((log) => log.close()))
  })
  after(async () => {
    await proxy.close()
    await broker.remove()
    await database.close()
  })

  async function openLog(
    brokers: string[],
    over: Partial<KafkaEventLogOptions> = {},
  ): Promise<KafkaEventLog> {
    const shared = { slots: createTestSlots(), db: database.db, topicPrefix: prefix }
    const log = openKafkaLog({ ...shared, brokers, keys: store.open() }, over)
    logs.push(log)
    await log.start()
    return log
  }

  async function read(log: KafkaEventLog): Promise<{ seen: string[]; worker: Worker }> {
    const seen: string[] = []
    const handler: BatchHandler = async (batch) => {
      await database.db.transaction((trx) => batch.close(trx, batch.items))
      seen.push(...batch.items.flatMap((item) => item.event?.eventId ?? []))
    }
    const worker = log.subscribe('urgent', handler)
    workers.push(worker)
    await worker.start()
    return { seen, worker }
  }

  const proxied = () => [`127.0.0.1:${proxy.port}`]

  for (const { title, atOnce } of [
    { title: 'one at a time', atOnce: 1 },
    { title: 'many at once', atOnce: 40 },
  ]) {
    // faults.md K9: an idempotent kafkajs producer acknowledges records here that the broker has discarded.
    it(`has every acknowledged record in the topic though answers were held back, ${title}`, async () => {
      const log = await openLog(proxied(), { answerTimeoutMs: 400 })
      const acknowledged: string[] = []
      let refused = 0
      const appendSome = () =>
        Promise.all(
          Array.from({ length: atOnce }, async (_, index) => {
            const event = makeEvent({ slot: index % 64 })
            await log.append([event]).then(
              () => acknowledged.push(event.eventId),
              () => {
                refused += 1
              },
            )
          }),
        )
      for (let round = 0; round < 9; round += 1) {
        await appendSome()
        proxy.holdAnswers()
        const appended = appendSome()
        if (round % 3 === 0)
          await waitUntil('an answer to be held back', () => proxy.held() > 0, { deadlineMs: 5_000 }).catch(
            () => {},
          )
        else await appended
        if (round % 3 === 1) proxy.cut()
        else proxy.release()
        await appended
      }
      assert.ok(refused > 0, 'no answer was late')
      assert.ok(acknowledged.length >= 9 * atOnce, `${acknowledged.length} acknowledged`)
      const stored = new Set((await readTopic(broker.brokers, `${prefix}.urgent`)).map(eventIdOf))
      assert.deepEqual(
        acknowledged.filter((eventId) => !stored.has(eventId)),
        [],
      )
    })
  }

  it('makes a consumer again that hangs on a connection that says nothing (K7)', async () => {
    const reader = await openLog(proxied(), { stallTimeoutMs: 1_500, requestTimeoutMs: 120_000 })
    const writer = await openLog(broker.brokers)
    const { seen } = await read(reader)
    await writer.append([makeEvent()])
    await waitUntil('the first event', () => seen.length === 1)
    proxy.freezeConnections()
    await writer.append([makeEvent()])
    await waitUntil('the event behind the stall', () => seen.length >= 2, { deadlineMs: 30_000 })
  })

  it('goes on from the beginning of new topics when the broker comes back empty (K3)', async () => {
    const log = await openLog(broker.brokers)
    const { seen, worker } = await read(log)
    const before = Array.from({ length: 20 }, (_, index) => makeEvent({ slot: index }))
    await log.append(before)
    await waitUntil('the events before', () => seen.length === 20)
    await broker.wipeAndRestart()
    const after = Array.from({ length: 5 }, (_, index) => makeEvent({ slot: index }))
    await waitUntil('an append to the new broker', () =>
      log.append(after).then(
        () => true,
        () => false,
      ),
    )
    const ids = after.map((event) => event.eventId)
    await waitUntil('the events after', () => ids.every((eventId) => seen.includes(eventId)), {
      deadlineMs: 40_000,
    })
    assert.deepEqual(seen.slice(0, 20).sort(), before.map((event) => event.eventId).sort())
    assert.deepEqual([...new Set(seen.slice(20))].sort(), ids.sort())
    await waitUntil('health', () => worker.health().ok && log.health().ok)
  })

  it('refuses appends in time while the broker hangs, and goes on by itself afterwards (K2)', async () => {
    const log = await openLog(broker.brokers, { answerTimeoutMs: 500 })
    const { seen } = await read(log)
    await log.append([makeEvent()])
    await broker.pause()
    try {
      const startedMs = performance.now()
      await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE' })
      assert.ok(performance.now() - startedMs < 20_000)
      assert.equal(log.health().ok, false)
    } finally {
      broker.resume()
    }
    const later = makeEvent()
    await waitUntil('an append', () =>
      log.append([later]).then(
        () => true,
        () => false,
      ),
    )
    await waitUntil('the event after the pause', () => seen.includes(later.eventId), { deadlineMs: 40_000 })
    assert.equal(log.health().ok, true)
  })

  it('says that nobody answers when no broker is there', async () => {
    const port = await pickFreePort()
    await assert.rejects(openLog([`127.0.0.1:${port}`]), { code: 'ERR_LOG_UNAVAILABLE' })
  })
})
