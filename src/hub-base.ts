import { type AuditLog, createAuditLog } from './audit/audit-log.js'
import { ensureFirstAdmin } from './auth/first-admin.js'
import { type Config, issuerOf } from './config/config.js'
import type { Doors } from './hub-doors.js'
import { egressProxyOf } from './hub-egress.js'
import { type HubPools, type HubStorage, ownPorts } from './hub-storage.js'
import { keepAdminToken } from './hub-traces.js'
import { type AdjustableClock, createClock } from './kernel/clock.js'
import type { Logger } from './kernel/logger.js'
import type { Metrics } from './kernel/metrics.js'
import type { KeyMaterial } from './keys/key-material.js'
import { createKeyService, type KeyService } from './keys/key-service.js'
import { createOutgoing, type Outgoing } from './outgoing/outgoing.js'
import { type ClockSync, createClockSync } from './storage/clock-sync.js'
import { migrate } from './storage/migrator.js'
import { createNotifier, type Notifier } from './storage/notifier.js'

/** What every part of the hub builds on. */
export interface HubBase {
  readonly config: Config
  readonly issuer: string
  readonly pools: HubPools
  readonly clock: AdjustableClock
  readonly clockSync: ClockSync
  readonly keys: KeyService
  /** What SIGNING_KEY_FILES held at the start. */
  readonly keyFiles: readonly KeyMaterial[]
  readonly audit: AuditLog
  readonly notifier: Notifier
  readonly outgoing: Outgoing
  readonly logger: Logger
  readonly metrics: Metrics
}

export interface OpenBaseOptions {
  readonly config: Config
  readonly logger: Logger
  readonly metrics: Metrics
  readonly doors: Doors
  readonly storage: HubStorage
  readonly keyFiles: readonly KeyMaterial[]
  onAdminToken(token: string, file: string | undefined): void
}

/** Migrates the database and makes what the first start needs: keys and the first admin. Nothing runs yet. */
export async function openBase(options: OpenBaseOptions): Promise<HubBase> {
  const { config, logger, metrics, doors, storage, keyFiles } = options
  const { pools } = storage
  const { applied } = await migrate(pools.api)
  if (applied.length > 0) logger.info('database.migrated', { applied })
  const clock = createClock()
  const clockSync = createClockSync({ db: pools.system, clock, metrics, logger })
  await clockSync.syncOnce()
  const audit = createAuditLog()
  const keys = await createKeyService({
    // Every lane needs the key of a day: no caller of the API may keep it from one.
    db: pools.system,
    clock,
    leadMs: config.signingKeyLeadS * 1000,
    given: keyFiles,
    logger,
    audit,
    ...masterKeysOf(config),
  })
  const token = await ensureFirstAdmin({ db: pools.api, audit, logger, given: config.firebreakAdminToken })
  if (token) options.onAdminToken(token, keepAdminToken(config.dataDir, token))
  return {
    config,
    issuer: issuerOf({ issuer: config.issuer, port: doors.port ?? config.port }),
    pools,
    clock,
    clockSync,
    keys,
    keyFiles,
    audit,
    notifier: createNotifier({ url: storage.listenUrl, logger }),
    outgoing: createOutgoing({
      allowedNetworks: config.firebreakAllowedNetworks,
      // No registered URL may lead to the hub's own stores, even on an allowed network.
      refusedPorts: ownPorts(config, doors.managementPort, storage.urls),
      ...egressProxyOf(config, clock.now()),
      metrics,
      logger,
    }),
    logger,
    metrics,
  }
}

function masterKeysOf(config: Config): { masterKey?: Buffer; previousMasterKey?: Buffer } {
  const { firebreakMasterKey: current, firebreakMasterKeyPrevious: previous } = config
  return {
    ...(current ? { masterKey: Buffer.from(current, 'base64') } : {}),
    ...(previous ? { previousMasterKey: Buffer.from(previous, 'base64') } : {}),
  }
}
