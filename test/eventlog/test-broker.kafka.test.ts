import assert from 'node:assert/strict'
import { Kafka, logLevel } from 'kafkajs'
import { type KafkaServer, startKafka } from '../support/kafka.js'

describe('the test broker', () => {
  let broker: KafkaServer
  before(async () => {
    broker = await startKafka({ users: { hub: 'secret' } })
  })
  after(() => broker.remove())

  it('answers on its plain and on its secure listener, and comes back empty after a wipe', async () => {
    const plain = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).admin()
    await plain.connect()
    await plain.createTopics({ topics: [{ topic: 'a', numPartitions: 1 }], waitForLeaders: true })
    const secure = new Kafka({
      brokers: broker.secure.brokers,
      logLevel: logLevel.NOTHING,
      ssl: { ca: [broker.secure.ca] },
      sasl: { mechanism: 'plain', username: 'hub', password: 'secret' },
    }).admin()
    await secure.connect()
    // Without an ACL the topic is not shown.
    assert.deepEqual(await secure.listTopics(), [])
    assert.deepEqual(await plain.listTopics(), ['a'])
    await secure.disconnect()
    await plain.disconnect()
    await broker.wipeAndRestart()
    const again = new Kafka({ brokers: broker.brokers, logLevel: logLevel.NOTHING }).admin()
    await again.connect()
    assert.deepEqual(await again.listTopics(), [])
    await again.disconnect()
  })
})
