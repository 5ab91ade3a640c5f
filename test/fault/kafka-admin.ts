import { type Admin, Kafka, logLevel } from 'kafkajs'
import { waitUntil } from '../support/wait.js'

export async function withAdmin<T>(brokers: string[], work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Every position of a dead hub back to the start; the broker refuses it until the dead members' sessions are over. */
export async function rewindGroups(brokers: string[], prefix: string): Promise<void> {
  for (const lane of ['control', 'urgent', 'routine']) {
    const topic = `${prefix}.${lane}`
    await waitUntil(`the position of ${lane} is set`, () =>
      withAdmin(brokers, async (admin) => {
        const partitions = (await admin.fetchTopicOffsets(topic)).map(({ partition, low }) => ({
          partition,
          offset: low,
        }))
        await admin.setOffsets({ groupId: `${prefix}.fanout.${lane}`, topic, partitions })
        return true
      }).catch(() => false),
    )
  }
}
