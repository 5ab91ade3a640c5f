import { Kafka, logLevel } from 'kafkajs'
import type { EventLog } from '../../src/eventlog/event-log.js'
import { createFailoverEventLog } from '../../src/eventlog/failover-event-log.js'
import {
  createKafkaEventLog,
  type KafkaEventLog,
  type KafkaEventLogOptions,
} from '../../src/eventlog/kafka-event-log.js'
import { createPostgresEventLog, type PostgresEventLog } from '../../src/eventlog/postgres-event-log.js'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import { newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { LANE_NUMBER, type Lane, type SecurityEvent } from '../../src/secevent/event.js'
import type { Database } from '../../src/storage/database.js'
import {
  clock,
  createTestKeyStore,
  createTestSlots,
  ISSUER,
  type TestKeys,
  type TestSlots,
} from '../eventlog/log-fixtures.js'
import { sharedKafka } from '../support/kafka.js'
import { createTestDatabase } from '../support/postgres.js'
import { type LogProcess, type LogRig, SLOW_HANDLER_MS } from './event-log.suite.js'

const DEDUPE_WINDOW_MS = 14 * 86_400_000
const PARTITIONS = 4

export const newTopicPrefix = (): string => `t-${newId().slice(0, 13)}`

export interface ProcessParts {
  keys: TestKeys
  slots: TestSlots
  db: Database
  brokers: string[]
  topicPrefix: string
}

export function openPostgresLog(parts: ProcessParts, keepForRelay = false): PostgresEventLog {
  const { db, slots } = parts
  const pools = { control: db, urgent: db, routine: db }
  return createPostgresEventLog({ ...common(parts), pools, slots, keepForRelay, pollMs: 100 })
}

export function openKafkaLog(parts: ProcessParts, over: Partial<KafkaEventLogOptions> = {}): KafkaEventLog {
  const { brokers, topicPrefix } = parts
  const topics = { brokers, topicPrefix, partitions: PARTITIONS, replication: 1 }
  // Tests share two busy cores with the broker: an answer may take a while.
  return createKafkaEventLog({
    ...common(parts),
    ...topics,
    slowHandlerMs: SLOW_HANDLER_MS,
    answerTimeoutMs: 5_000,
    ...over,
  })
}

function common({ keys }: ProcessParts) {
  const codec = createRecordCodec({ keys, issuer: ISSUER, clock, maxAgeMs: DEDUPE_WINDOW_MS })
  return { codec, clock, logger: silentLogger, metrics: createMetrics() }
}

export async function postgresRig(): Promise<LogRig> {
  return makeRig({
    brokers: [],
    open: (parts) => openPostgresLog(parts),
    raw: insertRaw,
    begin: beginInPostgres,
  })
}

export async function kafkaRig(): Promise<LogRig> {
  const { brokers } = await sharedKafka()
  return makeRig({
    brokers,
    open: (parts) => openKafkaLog(parts),
    raw: produceRaw,
    begin: beginInAnotherProcess,
  })
}

export async function failoverRig(): Promise<LogRig> {
  const { brokers } = await sharedKafka()
  const open = (parts: ProcessParts) => {
    const logs = { kafka: openKafkaLog(parts), postgres: openPostgresLog(parts, true) }
    return createFailoverEventLog({ ...common(parts), ...logs, db: parts.db })
  }
  return makeRig({ brokers, open, raw: produceRaw, begin: beginInPostgres })
}

interface RigKind {
  brokers: string[]
  open(parts: ProcessParts): EventLog
  raw(parts: ProcessParts, lane: Lane, slot: number, record: string): Promise<void>
  begin(parts: ProcessParts, event: SecurityEvent): Promise<{ finish(): Promise<void> }>
}

async function makeRig(kind: RigKind): Promise<LogRig> {
  const database = await createTestDatabase()
  const store = createTestKeyStore()
  const shared = { db: database.db, brokers: kind.brokers, topicPrefix: newTopicPrefix() }
  const makeParts = (): ProcessParts => ({ ...shared, keys: store.open(), slots: createTestSlots() })
  return {
    db: database.db,
    async open(): Promise<LogProcess> {
      const parts = makeParts()
      const log = kind.open(parts)
      await log.start()
      return { log, keys: parts.keys, slots: parts.slots }
    },
    putRaw: (lane, slot, record) => kind.raw(makeParts(), lane, slot, record),
    beginAppend: (event) => kind.begin(makeParts(), event),
    remove: () => database.close(),
  }
}

async function insertRaw({ db }: ProcessParts, lane: Lane, slot: number, record: string): Promise<void> {
  await db('event_log').insert({ lane: LANE_NUMBER[lane], slot, event_id: newId(), record })
}

async function produceRaw(parts: ProcessParts, lane: Lane, slot: number, record: string): Promise<void> {
  const producer = new Kafka({ brokers: parts.brokers, logLevel: logLevel.NOTHING }).producer()
  await producer.connect()
  const message = { key: String(slot), value: record, partition: slot % PARTITIONS }
  await producer.send({ topic: `${parts.topicPrefix}.${lane}`, messages: [message] })
  await producer.disconnect()
}

/** An open transaction: its row has an early id and is not there for others before the commit. */
async function beginInPostgres(parts: ProcessParts, event: SecurityEvent) {
  const trx = await parts.db.transaction()
  const log = openPostgresLog(parts)
  await log.appendIn(trx, [event])
  return {
    async finish() {
      await trx.commit()
      log.wake([event.lane])
      await log.close()
    },
  }
}

async function beginInAnotherProcess(parts: ProcessParts, event: SecurityEvent) {
  const log = openKafkaLog(parts)
  await log.start()
  return {
    async finish() {
      await log.append([event])
      await log.close()
    },
  }
}
