import assert from 'node:assert/strict'
import { Kafka, logLevel } from 'kafkajs'
import type { KafkaEventLog } from '../../src/eventlog/kafka-event-log.js'
import { newTopicPrefix, openKafkaLog, type ProcessParts } from '../conformance/event-log-rigs.js'
import { sharedKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { clock, createTestKeyStore, createTestSlots, makeEvent } from './log-fixtures.js'

/** What other processes write and commit; the log that is asked reads nothing itself. */
describe('the lag of the log in Kafka', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let parts: ProcessParts
  let log: KafkaEventLog
  let client: Kafka

  before(async () => {
    database = await createTestDatabase()
    const { brokers } = await sharedKafka()
    client = new Kafka({ brokers, logLevel: logLevel.NOTHING })
    parts = {
      keys: createTestKeyStore().open(),
      slots: createTestSlots(),
      db: database.db,
      brokers,
      topicPrefix: newTopicPrefix(),
    }
    log = openKafkaLog(parts)
    await log.start()
  })
  after(async () => {
    await log.close()
    await database.close()
  })

  const urgent = async () => (await log.lag()).find(({ lane }) => lane === 'urgent')

  async function write(records: readonly { partition: number; ageS: number }[]): Promise<void> {
    const producer = client.producer()
    await producer.connect()
    const messages = records.map(({ partition, ageS }) => ({
      partition,
      value: 'x',
      timestamp: String(Math.floor(clock.now() - ageS * 1000)),
    }))
    await producer.send({ topic: `${parts.topicPrefix}.urgent`, messages })
    await producer.disconnect()
  }

  async function commit(partition: number, offset: string): Promise<void> {
    const admin = client.admin()
    await admin.connect()
    const [groupId, topic] = [`${parts.topicPrefix}.fanout.urgent`, `${parts.topicPrefix}.urgent`]
    await admin.setOffsets({ groupId, topic, partitions: [{ partition, offset }] })
    await admin.disconnect()
  }

  const between = (value: number | undefined, low: number, high: number) =>
    assert.ok(value !== undefined && value >= low && value <= high, `${value} is between ${low} and ${high}`)

  it('is the age of the oldest record that nobody has committed, whatever is read of other partitions', async () => {
    // A new broker makes its list of groups first.
    const first = await waitUntil('the broker knows the group', () => urgent().catch(() => undefined))
    assert.deepEqual(first, { lane: 'urgent', records: 0, oldestAgeS: 0 })
    await write([
      { partition: 0, ageS: 4_000 },
      { partition: 0, ageS: 30 },
      { partition: 1, ageS: 300 },
      { partition: 1, ageS: 2 },
    ])
    assert.equal((await urgent())?.records, 4)
    between((await urgent())?.oldestAgeS, 4_000, 5_000)
    await commit(0, '1')
    between((await urgent())?.oldestAgeS, 300, 900)
    await commit(0, '2')
    assert.equal((await urgent())?.records, 2)
    between((await urgent())?.oldestAgeS, 300, 900)
    await commit(1, '1')
    between((await urgent())?.oldestAgeS, 2, 200)
    await commit(1, '2')
    assert.deepEqual(await urgent(), { lane: 'urgent', records: 0, oldestAgeS: 0 })
  })

  it('goes by the shared clock, though the clock of the machine that wrote is wrong', async () => {
    const shifted = { ...clock, now: () => clock.now() + 3_600_000 }
    const ahead = openKafkaLog(parts, { clock: shifted })
    await ahead.start()
    try {
      await ahead.append([makeEvent({ lane: 'control' })])
      const lag = (await ahead.lag()).find(({ lane }) => lane === 'control')
      between(lag?.oldestAgeS, 0, 600)
    } finally {
      await ahead.close()
    }
  })
})
