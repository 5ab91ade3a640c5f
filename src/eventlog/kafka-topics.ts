import { setTimeout as delay } from 'node:timers/promises'
import type { Admin } from 'kafkajs'
import { describeError, StartupError } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import { LogUnavailable } from './event-log.js'
import {
  createKafkaClient,
  explainKafkaError,
  type KafkaClient,
  type KafkaConnection,
  kafkaErrorFacts,
  withDeadline,
} from './kafka-client.js'

export interface TopicSpec {
  prefix: string
  /** For topics that do not exist yet. */
  partitions: number
  replication: number
  retentionMs: number
}

export const topicOf = (prefix: string, lane: Lane): string => `${prefix}.${lane}`
export const groupOf = (prefix: string, lane: Lane): string => `${prefix}.fanout.${lane}`

export interface TopicLayout {
  readonly partitions: Readonly<Record<Lane, number>>
  /** What readiness should say although all works. */
  readonly warning?: string
}

export interface KafkaTopics {
  /** Makes what is missing and answers what is there. Throws StartupError or LogUnavailable. One at a time. */
  ensure(): Promise<TopicLayout>
  /** What the last `ensure` found. */
  layout(): TopicLayout | undefined
  /** Resolves when the broker answers for all topics within the time; makes them again when they are gone. */
  probe(timeoutMs: number): Promise<void>
  /** Records per lane that the group has not committed. */
  lag(timeoutMs: number): Promise<Record<Lane, { records: number; committed: string }>>
  close(): void
}

const ENSURE_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 5_000

export function createKafkaTopics(connection: KafkaConnection, spec: TopicSpec): KafkaTopics {
  let client: { raw: KafkaClient; admin: Admin; connected: Promise<void> } | undefined
  let found: TopicLayout | undefined
  let ensuring: Promise<TopicLayout> | undefined
  const names = LANES.map((lane) => topicOf(spec.prefix, lane))

  async function withAdmin<T>(
    timeoutMs: number,
    what: string,
    work: (admin: Admin) => Promise<T>,
  ): Promise<T> {
    if (!client) {
      const ids = { clientId: `${spec.prefix}-admin`, requestTimeoutMs: REQUEST_TIMEOUT_MS }
      const raw = createKafkaClient(connection, ids)
      // Right after a topic was made its leaders do not know it yet.
      const admin = raw.kafka.admin({ retry: { retries: 8, initialRetryTime: 50, maxRetryTime: 500 } })
      client = { raw, admin, connected: admin.connect() }
    }
    const { admin, connected, raw } = client
    try {
      return await withDeadline(
        connected.then(() => work(admin)),
        timeoutMs,
        what,
      )
    } catch (error) {
      raw.destroy()
      if (client?.raw === raw) client = undefined
      throw explainKafkaError(error, connection.brokers)
    }
  }

  async function ensureNow(): Promise<TopicLayout> {
    found = await withAdmin(ENSURE_TIMEOUT_MS, 'topics', async (admin) => {
      const existing = await admin.listTopics()
      const missing = names.filter((name) => !existing.includes(name))
      if (missing.length > 0) await createTopics(admin, missing, spec)
      return readLayout(admin, spec.prefix)
    })
    return found
  }

  async function ensure(): Promise<TopicLayout> {
    ensuring ??= ensureNow().finally(() => {
      ensuring = undefined
    })
    return ensuring
  }

  return {
    ensure,
    layout: () => found,
    async probe(timeoutMs) {
      if (!found) return void (await ensure())
      const missing = await withAdmin(timeoutMs, 'probe', async (admin) => {
        const existing = await admin.listTopics()
        return names.some((name) => !existing.includes(name))
      })
      if (missing) await ensure()
    },
    lag: (timeoutMs) => withAdmin(timeoutMs, 'lag', (admin) => readLag(admin, spec.prefix)),
    close() {
      client?.raw.destroy()
      client = undefined
    },
  }
}

async function createTopics(admin: Admin, missing: string[], spec: TopicSpec): Promise<void> {
  const configEntries = [
    { name: 'cleanup.policy', value: 'delete' },
    { name: 'retention.ms', value: String(spec.retentionMs) },
    { name: 'min.insync.replicas', value: String(Math.min(2, spec.replication)) },
  ]
  const layout = { numPartitions: spec.partitions, replicationFactor: spec.replication, configEntries }
  try {
    await admin.createTopics({ topics: missing.map((topic) => ({ topic, ...layout })), waitForLeaders: true })
  } catch (error) {
    const { types } = kafkaErrorFacts(error)
    const detail = describeError(error)
    const list = missing.join(', ')
    if (types.some((type) => type.endsWith('_AUTHORIZATION_FAILED'))) {
      throw new StartupError(
        `Kafka has no topic ${list} that this user may see, and the user may not create it: create it with ${spec.partitions} partitions, or grant Create and Describe.`,
        { detail },
      )
    }
    if (types.includes('INVALID_REPLICATION_FACTOR')) {
      throw new StartupError(
        `Kafka cannot make ${list} with replication ${spec.replication}: set KAFKA_REPLICATION to at most the number of brokers.`,
        { detail },
      )
    }
    // Another hub was faster, or leaders are still being chosen: reading the layout will tell.
    if (!types.includes('TOPIC_ALREADY_EXISTS') && !types.includes('LEADER_NOT_AVAILABLE')) throw error
  }
}

async function readLayout(admin: Admin, prefix: string): Promise<TopicLayout> {
  const { topics } = await admin.fetchTopicMetadata({ topics: LANES.map((lane) => topicOf(prefix, lane)) })
  const partitions = {} as Record<Lane, number>
  let replicas = Number.POSITIVE_INFINITY
  for (const lane of LANES) {
    const topic = topics.find((candidate) => candidate.name === topicOf(prefix, lane))
    if (
      !topic ||
      topic.partitions.length === 0 ||
      topic.partitions.some((partition) => partition.leader < 0)
    ) {
      throw new LogUnavailable(`Kafka has no leader for ${topicOf(prefix, lane)} yet; try again.`)
    }
    partitions[lane] = topic.partitions.length
    for (const partition of topic.partitions) replicas = Math.min(replicas, partition.replicas.length)
  }
  if (replicas >= 3) return { partitions }
  return {
    partitions,
    warning: `Kafka keeps ${replicas} of the 3 copies that production wants (KAFKA_REPLICATION)`,
  }
}

const LEADER_TRIES = 10
const LEADER_WAIT_MS = 100

/** Right after a topic was made its broker may not lead it yet; kafkajs gives up at the first such answer. */
async function fetchEnds(admin: Admin, topic: string) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await admin.fetchTopicOffsets(topic)
    } catch (error) {
      const isElecting = (error as { type?: string }).type === 'NOT_LEADER_FOR_PARTITION'
      if (!isElecting || tries >= LEADER_TRIES) throw error
      await delay(LEADER_WAIT_MS)
    }
  }
}

async function readLag(
  admin: Admin,
  prefix: string,
): Promise<Record<Lane, { records: number; committed: string }>> {
  const lags = {} as Record<Lane, { records: number; committed: string }>
  for (const lane of LANES) {
    const topic = topicOf(prefix, lane)
    const [ends, [group]] = await Promise.all([
      fetchEnds(admin, topic),
      admin.fetchOffsets({ groupId: groupOf(prefix, lane), topics: [topic] }),
    ])
    const committed = new Map(group?.partitions.map(({ partition, offset }) => [partition, Number(offset)]))
    let records = 0
    for (const { partition, low, high } of ends) {
      // Retention may have cut what was never read; nothing committed is -1.
      records += Math.max(0, Number(high) - Math.max(committed.get(partition) ?? -1, Number(low)))
    }
    lags[lane] = { records, committed: [...committed.values()].join() }
  }
  return lags
}
