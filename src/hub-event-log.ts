import { readFileSync } from 'node:fs'
import type { Config } from './config/config.js'
import type { EventLog, SlotOwnership, TransactionalLog } from './eventlog/event-log.js'
import { createFailoverEventLog, type Detour } from './eventlog/failover-event-log.js'
import { createKafkaEventLog } from './eventlog/kafka-event-log.js'
import { createLogRelay } from './eventlog/log-relay.js'
import { createPostgresEventLog } from './eventlog/postgres-event-log.js'
import { createRecordCodec } from './eventlog/record-codec.js'
import type { HubBase } from './hub-base.js'
import { StartupError } from './kernel/errors.js'
import type { Worker } from './kernel/worker.js'

const DAY_MS = 86_400_000

export interface HubEventLog {
  readonly log: EventLog
  /** What the hub itself decides goes through Postgres, whatever log is configured. */
  readonly transactional: TransactionalLog
  /** Copies what went through Postgres to Kafka, for other readers. */
  readonly relay: Worker | undefined
  /** Events go around Kafka now. */
  detour(): Detour | undefined
}

export interface OpenEventLogOptions extends HubBase {
  readonly slots: SlotOwnership
  /** One process copies to Kafka. */
  readonly relayLease: SlotOwnership
}

/** The Postgres log, or with KAFKA_BROKERS both behind a breaker. */
export function openEventLog(options: OpenEventLogOptions): HubEventLog {
  const { config, pools, slots, notifier, clock, logger, metrics } = options
  const codec = createRecordCodec({
    keys: options.keys,
    issuer: options.issuer,
    clock,
    maxAgeMs: config.dedupeWindowDays * DAY_MS,
  })
  const usesKafka = config.kafkaBrokers.length > 0
  const postgres = createPostgresEventLog({
    pools,
    slots,
    notifier,
    codec,
    clock,
    logger,
    metrics,
    keepForRelay: usesKafka,
  })
  if (!usesKafka) return { log: postgres, transactional: postgres, relay: undefined, detour: () => undefined }
  const kafka = createKafkaEventLog({
    ...kafkaConnection(config),
    topicPrefix: config.kafkaTopicPrefix,
    partitions: config.kafkaPartitions,
    replication: config.kafkaReplication,
    answerTimeoutMs: config.kafkaTimeoutMs,
    ...brokenTimings(config),
    codec,
    clock,
    logger,
    metrics,
  })
  const log = createFailoverEventLog({
    kafka,
    postgres,
    codec,
    db: pools.api,
    clock,
    logger,
    metrics,
  })
  const relay = createLogRelay({ db: pools.api, kafka, lease: options.relayLease, logger, metrics })
  return { log, transactional: postgres, relay, detour: () => log.detour() }
}

/** What the fault suite takes away to see that the watchdog is what mends a stalled consumer. */
function brokenTimings({ firebreakTestFaults: faults }: Config) {
  return {
    ...(faults.includes('deaf-kafka') && { requestTimeoutMs: DAY_MS }),
    ...(faults.includes('no-kafka-watchdog') && { stallTimeoutMs: DAY_MS }),
  }
}

export function kafkaConnection(config: Config) {
  return {
    brokers: config.kafkaBrokers,
    ...(config.kafkaSsl ? { ssl: kafkaTls(config) } : {}),
    ...(config.kafkaSaslMechanism
      ? {
          sasl: {
            mechanism: config.kafkaSaslMechanism,
            username: config.kafkaSaslUsername as string,
            password: config.kafkaSaslPassword as string,
          },
        }
      : {}),
  }
}

function kafkaTls(config: Config) {
  return {
    ...(config.kafkaSslCaFile ? { ca: readSetting('KAFKA_SSL_CA_FILE', config.kafkaSslCaFile) } : {}),
    ...(config.kafkaSslCertFile ? { cert: readSetting('KAFKA_SSL_CERT_FILE', config.kafkaSslCertFile) } : {}),
    ...(config.kafkaSslKeyFile ? { key: readSetting('KAFKA_SSL_KEY_FILE', config.kafkaSslKeyFile) } : {}),
  }
}

/** @throws StartupError that names the setting */
function readSetting(name: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new StartupError(`${name}: cannot read ${file}; name a readable PEM file.`, { cause })
  }
}
