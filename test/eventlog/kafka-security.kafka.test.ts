import assert from 'node:assert/strict'
import kafkajs, { type AclOperationTypes, Kafka, logLevel } from 'kafkajs'
import type { KafkaEventLog, KafkaEventLogOptions } from '../../src/eventlog/kafka-event-log.js'
import { newTopicPrefix, openKafkaLog } from '../conformance/event-log-rigs.js'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { createTestKeyStore, createTestSlots, makeEvent } from './log-fixtures.js'

// Node finds only some of the names that kafkajs, a CommonJS package, exports.
const { AclOperationTypes: Operation, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs
const PASSWORD = 'loopback-test-only'

describe('Kafka log with TLS and SASL (K8)', () => {
  let broker: KafkaServer
  let database: TestDatabase
  const logs: KafkaEventLog[] = []
  const keys = createTestKeyStore().open()

  before(async () => {
    broker = await startKafka({ users: { hub: PASSWORD, stranger: PASSWORD } })
    database = await createTestDatabase()
  })
  afterEach(() => Promise.all(logs.splice(0).map((log) => log.close())))
  after(async () => {
    await broker.remove()
    await database.close()
  })

  function makeLog(topicPrefix: string, over: Partial<KafkaEventLogOptions> = {}): KafkaEventLog {
    const log = openKafkaLog(
      { brokers: broker.secure.brokers, topicPrefix, keys, slots: createTestSlots(), db: database.db },
      {
        ssl: { ca: broker.secure.ca },
        sasl: { mechanism: 'plain', username: 'hub', password: PASSWORD },
        ...over,
      },
    )
    logs.push(log)
    return log
  }

  /** As docs/kafka.md says: all on the topics of the prefix, Read on its groups; Create only on demand. */
  async function grant(prefix: string, operations: AclOperationTypes[]): Promise<void> {
    const admin = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).admin()
    await admin.connect()
    const common = {
      principal: 'User:hub',
      host: '*',
      permissionType: AclPermissionTypes.ALLOW,
      resourcePatternType: ResourcePatternTypes.PREFIXED,
      resourceName: prefix,
    }
    const topic = operations.map((operation) => ({
      ...common,
      operation,
      resourceType: AclResourceTypes.TOPIC,
    }))
    const group = { ...common, operation: Operation.READ, resourceType: AclResourceTypes.GROUP }
    await admin.createAcls({ acl: [...topic, group] })
    await admin.disconnect()
  }

  it('stores and reads with exactly the documented rights', async () => {
    const prefix = newTopicPrefix()
    const { CREATE, DESCRIBE, READ, WRITE } = Operation
    await grant(prefix, [CREATE, DESCRIBE, READ, WRITE])
    const log = makeLog(prefix)
    await log.start()
    const event = makeEvent()
    await log.append([event])
    const seen: string[] = []
    const worker = log.subscribe('urgent', async (batch) => {
      await database.db.transaction((trx) => batch.close(trx, batch.items))
      seen.push(...batch.items.flatMap((item) => item.event?.eventId ?? []))
    })
    await worker.start()
    await waitUntil('the event', () => seen.length === 1)
    await worker.stop()
    assert.deepEqual(seen, [event.eventId])
    assert.equal(log.health().ok, true)
    assert.match(log.health().reason ?? '', /1 of the 3 copies/)
  })

  it('names the settings when the password is wrong', async () => {
    const sasl = { mechanism: 'plain' as const, username: 'hub', password: 'wrong' }
    await assert.rejects(makeLog(newTopicPrefix(), { sasl }).start(), {
      code: 'ERR_STARTUP',
      message: /KAFKA_SASL_/,
    })
  })

  it('names the topic that is missing and may not be made', async () => {
    const prefix = newTopicPrefix()
    const sasl = { mechanism: 'plain' as const, username: 'stranger', password: PASSWORD }
    const expected = { code: 'ERR_STARTUP', message: new RegExp(`${prefix}\\.control.*grant Create`) }
    await assert.rejects(makeLog(prefix, { sasl }).start(), expected)
  })

  it('names the settings when the certificate is not trusted', async () => {
    const expected = { code: 'ERR_STARTUP', message: /KAFKA_SSL_/ }
    await assert.rejects(makeLog(newTopicPrefix(), { ssl: true }).start(), expected)
  })

  it('names the setting when there are fewer brokers than copies', async () => {
    const prefix = newTopicPrefix()
    await grant(prefix, [Operation.CREATE, Operation.DESCRIBE])
    const expected = { code: 'ERR_STARTUP', message: /KAFKA_REPLICATION/ }
    await assert.rejects(makeLog(prefix, { replication: 3 }).start(), expected)
  })

  it('says which right is missing when records may not be written', async () => {
    const prefix = newTopicPrefix()
    await grant(prefix, [Operation.CREATE, Operation.DESCRIBE])
    const log = makeLog(prefix)
    await log.start()
    await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE' })
    assert.equal(log.health().ok, false)
    assert.match(log.health().reason ?? '', /TOPIC_AUTHORIZATION_FAILED/)
  })
})
