import type { Admin } from 'kafkajs'
import { describeError, StartupError } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import { type LogLag, LogUnavailable } from './event-log.js'
import {
  createKafkaClient,
  explainKafkaError,
  type KafkaClient,
  type KafkaConnection,
  kafkaErrorFacts,
  withDeadline,
} from './kafka-client.js'
import { readTopicLags, type TopicLag } from './kafka-lag.js'

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
  /** What the groups have not committed. @param nowMs on the clock of the records' times */
  lag(nowMs: number, timeoutMs: number): Promise<LogLag[]>
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
    lag: (nowMs, timeoutMs) =>
      withAdmin(timeoutMs, 'lag', async (admin) => {
        const places = LANES.map((lane) => ({
          topic: topicOf(spec.prefix, lane),
          groupId: groupOf(spec.prefix, lane),
        }))
        const lags = await readTopicLags(admin, places, nowMs)
        return LANES.map((lane, index): LogLag => ({ lane, ...(lags[index] as TopicLag) }))
      }),
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
