import { createFailoverEventLog } from '../../src/eventlog/failover-event-log.js'
import { createKafkaEventLog } from '../../src/eventlog/kafka-event-log.js'
import { createPostgresEventLog } from '../../src/eventlog/postgres-event-log.js'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { ISSUER, type LogParts, type OpenedLog } from './order-hub.js'

const DAY_MS = 86_400_000

function postgresOf(parts: LogParts, keepForRelay: boolean) {
  const codec = createRecordCodec({ ...parts, issuer: ISSUER, maxAgeMs: DAY_MS })
  const shared = { ...parts, codec, logger: silentLogger, metrics: createMetrics() }
  return { shared, postgres: createPostgresEventLog({ ...shared, keepForRelay, pollMs: 200 }) }
}

export function openPostgresLog(parts: LogParts): OpenedLog {
  const { postgres } = postgresOf(parts, false)
  return { log: postgres, transactional: postgres }
}

/** Kafka with Postgres behind the breaker, as a hub with KAFKA_BROKERS has it, only more impatient. */
export function openFailoverLog(brokers: string[], parts: LogParts): OpenedLog {
  const { shared, postgres } = postgresOf(parts, true)
  const kafka = createKafkaEventLog({
    ...shared,
    brokers,
    partitions: 4,
    replication: 1,
    answerTimeoutMs: 300,
  })
  const log = createFailoverEventLog({
    ...shared,
    kafka,
    postgres,
    db: parts.pools.api,
    returnAfterMs: 200,
    probeIntervalMs: 50,
  })
  return { log, transactional: postgres }
}
