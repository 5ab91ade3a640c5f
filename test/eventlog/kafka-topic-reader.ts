import { Kafka, logLevel } from 'kafkajs'
import { newId } from '../../src/kernel/ids.js'
import { waitUntil } from '../support/wait.js'

/** Everything that is in a topic now, by a plain reader that knows nothing of the hub. */
export async function readTopic(brokers: string[], topic: string): Promise<string[]> {
  const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  // Right after a topic was made its broker may not lead it yet, and kafkajs gives up at the first such answer.
  const ends = await waitUntil(`a leader of ${topic}`, () =>
    admin.fetchTopicOffsets(topic).catch((error: { type?: string }) => {
      if (error.type !== 'NOT_LEADER_FOR_PARTITION') throw error
      return undefined
    }),
  )
  await admin.disconnect()
  const waiting = new Set(ends.filter(({ low, high }) => low !== high).map(({ partition }) => partition))
  const values: string[] = []
  const consumer = kafka.consumer({ groupId: newId(), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const message of batch.messages) values.push(message.value?.toString() ?? '')
      const end = ends.find(({ partition }) => partition === batch.partition)
      if (BigInt(batch.lastOffset()) >= BigInt(end?.high ?? 0) - 1n) waiting.delete(batch.partition)
    },
  })
  await waitUntil(`the end of ${topic}`, () => waiting.size === 0)
  await consumer.disconnect()
  return values
}

/** The `jti` of a record: the event's id. */
export function eventIdOf(record: string): string {
  const claims = JSON.parse(Buffer.from(record.split('.')[1] ?? '', 'base64url').toString()) as {
    jti: string
  }
  return claims.jti
}
