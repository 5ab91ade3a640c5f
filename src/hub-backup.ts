import { resolve } from 'node:path'
import { createAuditLog } from './audit/audit-log.js'
import { NothingToBackUp } from './backup/backup-errors.js'
import { type BackupOptions, type BackupResult, writeBackup } from './backup/backup-service.js'
import { type RestoreOptions, type RestoreResult, restoreBackup } from './backup/restore-service.js'
import { findLastRestore } from './backup/restored-read-model.js'
import { type RewindTarget, rewindToBackup, rewindToTime } from './backup/rewind-target.js'
import type { Config } from './config/config.js'
import { type LaneRewound, readKafkaPositions, rewindKafka } from './eventlog/kafka-positions.js'
import { asUnavailable } from './http/outages.js'
import { hubVersion } from './hub-description.js'
import { kafkaConnection } from './hub-event-log.js'
import { unreachable, withDatabase } from './hub-storage.js'
import { describeError, InvalidRequest } from './kernel/errors.js'
import { silentLogger } from './kernel/logger.js'
import { describeRing } from './keys/key-ring.js'
import { findEmbeddedPostgres } from './storage/embedded-postgres.js'
import { migrate } from './storage/migrator.js'

const DAY_MS = 86_400_000

type Streaming<T> = Omit<T, 'databaseUrl' | 'hubVersion' | 'describeKeys' | 'logPositions' | 'audit'>

/** Beside hubs that work, also on their embedded PostgreSQL. */
export async function backUpHub(config: Config, options: Streaming<BackupOptions>): Promise<BackupResult> {
  const warnings: string[] = []
  const logPositions =
    config.kafkaBrokers.length === 0
      ? undefined
      : () =>
          readKafkaPositions(kafkaPlace(config)).catch((error: unknown) => {
            warnings.push(`Kafka's positions are not in it (${describeError(error)})`)
            return null
          })
  const write = (databaseUrl: string) =>
    writeBackup({
      ...options,
      databaseUrl,
      hubVersion: hubVersion(),
      describeKeys: describeRing,
      logPositions,
    }).catch((error: unknown) => {
      throw explainLoss(config, error)
    })
  const found = config.databaseUrl
    ? { url: config.databaseUrl }
    : await findEmbeddedPostgres(resolve(config.dataDir))
  if (found === 'none') {
    throw new NothingToBackUp(
      `there is no embedded PostgreSQL in ${resolve(config.dataDir)}: set DATA_DIR or DATABASE_URL as the hub has them`,
    )
  }
  const result =
    found === 'stopped'
      ? await withDatabase(config, ({ urls }) => write(urls[0] as string))
      : await write(found.url)
  return { ...result, warnings: [...warnings, ...result.warnings] }
}

/** PostgreSQL's codes for a lost connection, a login or a database that is not there, and its own stop. */
const NO_ENTRY = /^(?:08|28|3D|57P)/

/** As `serve` says it. */
function explainLoss(config: Config, error: unknown): unknown {
  const { code } = error as { code?: unknown }
  const isOfServer = typeof code === 'string' && /^\d/.test(code)
  const isAway = isOfServer ? NO_ENTRY.test(code) : asUnavailable(error) !== error
  return isAway && config.databaseUrl ? unreachable(config.databaseUrl, error) : error
}

/** Into the database that `serve` would take, which must be empty. */
export async function restoreHub(
  config: Config,
  options: Streaming<RestoreOptions>,
): Promise<RestoreResult & { into: string; usesKafka: boolean }> {
  return await withDatabase(config, async ({ urls, described }) => {
    const result = await restoreBackup({
      ...options,
      databaseUrl: urls[0] as string,
      audit: createAuditLog(),
    }).catch((error: unknown) => {
      throw explainLoss(config, error)
    })
    return { ...result, into: described, usesKafka: config.kafkaBrokers.length > 0 }
  })
}

export type RewindRequest = { readonly to: string } | { readonly fromBackup: true }

export interface RewindOutcome {
  /** `postgres`: that log is a queue, whose open rows are in the backup; there is nothing to rewind. */
  readonly log: 'kafka' | 'postgres'
  /** What the positions follow: a time, or those that the backup had read. */
  readonly target?: RewindTarget['told']
  readonly lanes: readonly LaneRewound[]
}

/** @throws InvalidRequest, Conflict while a hub reads, LogUnavailable */
export async function rewindHubLog(config: Config, request: RewindRequest): Promise<RewindOutcome> {
  if (config.kafkaBrokers.length === 0) {
    await requireNoKafkaLog(config)
    return { log: 'postgres', lanes: [] }
  }
  return await withDatabase(config, async ({ pools }) => {
    await migrate(pools.api)
    const last = await findLastRestore(pools.api)
    const nowMs = Date.now()
    const oldestMs = nowMs - config.dedupeWindowDays * DAY_MS
    const { target, told } =
      'to' in request ? rewindToTime(request.to, { nowMs, oldestMs }) : rewindToBackup(last, { oldestMs })
    return await pools.api.transaction(async (trx) => {
      const lanes = await rewindKafka(kafkaPlace(config), { target, oldestMs })
      const outcome: RewindOutcome = { log: 'kafka', target: told, lanes }
      await createAuditLog().record(trx, {
        actor: 'database access',
        action: 'log.rewound',
        detail: {
          target: told,
          records: Object.fromEntries(lanes.map(({ lane, records }) => [lane, records])),
        },
      })
      return outcome
    })
  })
}

/** @throws InvalidRequest when the setting is missing with which the restored hub read a log */
async function requireNoKafkaLog(config: Config): Promise<void> {
  // Only to look: nothing is made where there is nothing yet.
  if (!config.databaseUrl && (await findEmbeddedPostgres(resolve(config.dataDir))) === 'none') return
  await withDatabase(config, async ({ pools }) => {
    if (!(await pools.api.schema.hasTable('audit_log'))) return
    if (!(await findLastRestore(pools.api))?.logPositions) return
    throw new InvalidRequest(
      'The backup that this database was restored from has positions of a Kafka log: set KAFKA_BROKERS (and KAFKA_TOPIC_PREFIX) as that hub had them.',
    )
  })
}

const kafkaPlace = (config: Config) => ({
  connection: { ...kafkaConnection(config), logger: silentLogger },
  topicPrefix: config.kafkaTopicPrefix,
})
