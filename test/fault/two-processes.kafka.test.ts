import { randomUUID } from 'node:crypto'
import { sharedKafka } from '../support/kafka.js'
import { createTestDatabase } from '../support/postgres.js'
import { describeTwoProcesses } from './two-processes.suite.js'

describeTwoProcesses('Kafka log', async () => {
  const [database, kafka] = await Promise.all([createTestDatabase(), sharedKafka()])
  return {
    env: {
      DATABASE_URL: database.url,
      KAFKA_BROKERS: kafka.brokers.join(','),
      KAFKA_TOPIC_PREFIX: `fault-${randomUUID().slice(0, 8)}`,
    },
    close: () => database.close(),
  }
})
