import { createAuditLog } from './audit/audit-log.js'
import { createAuditSealer } from './audit/audit-sealer.js'
import { createAttemptLimiter } from './auth/attempt-limiter.js'
import { ensureFirstAdmin } from './auth/first-admin.js'
import { type Config, issuerOf } from './config/config.js'
import { createDelivery, exposeBacklog } from './delivery/delivery-service.js'
import { fanOutRepository } from './delivery/fan-out-repository.js'
import { parkedRepository } from './delivery/parked-repository.js'
import { createLatencyFolder } from './enforcement/latency-folder.js'
import { createLatencyHistogramRepository } from './enforcement/latency-histogram-repository.js'
import { createRevocationMetrics } from './enforcement/revocation-metrics.js'
import type { Readiness } from './http/management.js'
import { openDoors } from './hub-doors.js'
import { openEventLog } from './hub-event-log.js'
import { createRoutes } from './hub-routes.js'
import { openStorage, ownPorts } from './hub-storage.js'
import { announceHub, keepAdminToken } from './hub-traces.js'
import { createClock } from './kernel/clock.js'
import { describeError } from './kernel/errors.js'
import { createEventIds, newId } from './kernel/ids.js'
import type { Logger } from './kernel/logger.js'
import { createMetrics } from './kernel/metrics.js'
import type { Worker } from './kernel/worker.js'
import { eraseContentKeys } from './keys/data-keys.js'
import { createKeyService } from './keys/key-service.js'
import { createOutgoing } from './outgoing/outgoing.js'
import { LANES, SLOT_COUNT } from './secevent/event.js'
import { EVENTS_SUPPORTED } from './secevent/event-types.js'
import { createClockSync } from './storage/clock-sync.js'
import { checkDatabase } from './storage/database-check.js'
import { createLeases, type LeaseSet } from './storage/leases.js'
import { migrate } from './storage/migrator.js'
import { createNotifier } from './storage/notifier.js'
import { createUpkeep, ensureDayPartition } from './storage/partitions.js'
import { SHARD_COUNT } from './streams/stream.js'
import { createStreamMatcher } from './streams/stream-matching.js'
import { createStreamRepository } from './streams/stream-repository.js'

export interface Hub {
  /** Undefined when this process serves no HTTP but the management port. */
  readonly url: string | undefined
  readonly managementUrl: string
  /** Where the data are, for a person. */
  readonly dataDescribed: string
  /** Drains: no new requests, work in flight ends, then Postgres stops. */
  stop(): Promise<void>
}

export interface StartHubOptions {
  readonly config: Config
  readonly logger: Logger
  onProgress(text: string): void
  /** The first admin's token, as soon as it is made and never again; `file` says where it is kept, if anywhere. */
  onAdminToken(token: string, file: string | undefined): void
  /** The hub cannot go on: end the process. */
  onFatal(error: Error): void
}

/**
 * Wires all rooms and starts them, in the order they need each other.
 * @throws HubError (StartupError, InvalidConfig) with one clear text
 */
export async function startHub(options: StartHubOptions): Promise<Hub> {
  const { config, logger } = options
  const processId = newId()
  const clock = createClock()
  const metrics = createMetrics({ processMetrics: true })
  const has = (role: Config['roles'][number]) => config.roles.includes(role)

  const doors = await openDoors({ config, metrics, logger })
  const issuer = issuerOf({ issuer: config.issuer, port: doors.port ?? config.port })
  const storage = await openStorage({
    config,
    logger,
    onProgress: options.onProgress,
    onLost: options.onFatal,
  }).catch(async (error: unknown) => {
    await Promise.all([doors.closeHttp(), doors.closeManagement()])
    throw error
  })
  const started: Worker[] = []
  const start = async (worker: Worker): Promise<void> => {
    await worker.start()
    started.push(worker)
  }

  /** The reverse of the start: what takes requests first, what they need last. */
  async function stop(): Promise<void> {
    await doors.closeHttp()
    for (const worker of started.splice(0).reverse()) {
      try {
        await worker.stop()
      } catch (error) {
        logger.warn('worker.stop_failed', { worker: worker.name, reason: describeError(error) })
      }
    }
    await doors.closeManagement()
    await storage.close()
  }

  try {
    const { pools } = storage
    const { applied } = await migrate(pools.api)
    if (applied.length > 0) logger.info('database.migrated', { applied })
    const clockSync = createClockSync({ db: pools.system, clock, metrics, logger })
    await clockSync.syncOnce()
    const keys = await createKeyService({
      db: pools.api,
      logger,
      ...(config.firebreakMasterKey ? { masterKey: Buffer.from(config.firebreakMasterKey, 'base64') } : {}),
    })
    const audit = createAuditLog()
    const firstAdminToken = await ensureFirstAdmin({
      db: pools.api,
      audit,
      logger,
      given: config.firebreakAdminToken,
    })
    if (firstAdminToken)
      options.onAdminToken(firstAdminToken, keepAdminToken(config.dataDir, firstAdminToken))
    const notifier = createNotifier({ url: storage.listenUrl, logger })
    const leases = (kind: string, units: number): LeaseSet =>
      createLeases({ db: pools.system, kind, units, processId, clock, logger })
    const shards = leases('delivery', SHARD_COUNT)
    const slots = leases('fanout', SLOT_COUNT)
    const relayLease = leases('log-relay', 1)
    const sealerLease = leases('audit-sealer', 1)
    const folderLease = leases('latency-folder', 1)
    const upkeepLease = leases('upkeep', 1)

    const { log, transactional, relay } = openEventLog({
      config,
      issuer,
      pools,
      slots,
      notifier,
      keys,
      clock,
      logger,
      metrics,
      relayLease,
    })
    const outgoing = createOutgoing({
      allowedNetworks: config.firebreakAllowedNetworks,
      // No registered URL may lead to the hub's own stores, even on an allowed network.
      refusedPorts: ownPorts(config, doors.managementPort, storage.urls),
      metrics,
      logger,
    })
    const revocation = createRevocationMetrics(metrics, EVENTS_SUPPORTED)
    const streams = createStreamRepository(pools.api)
    const delivery = createDelivery({
      pools,
      leases: shards,
      hints: notifier,
      keys,
      match: createStreamMatcher({
        hmac: (text) => keys.hmac('subject', text),
        subjectRemovalGraceS: config.subjectRemovalGraceS,
      }),
      post: (request) => outgoing.request(request),
      issuer,
      clock,
      logger,
      metrics,
      attemptTimeoutMs: config.pushTimeoutMs,
      concurrency: config.pushConcurrency,
      holdMs: config.pollHoldMs,
      dedupeWindowDays: config.dedupeWindowDays,
      ensureDay: (day) => ensureDayPartition(pools.api, day),
      touchStream: (streamId) => streams.touch([streamId]),
      onReceived: (type, tookMs) => revocation.resolved('received', type, tookMs),
      onVerified: (streamId) => streams.markVerified(streamId),
    })
    const deadlines = {
      received: config.receivedDeadlineMs,
      applied: config.appliedDeadlineMs,
      verified: config.verifiedDeadlineMs,
    }
    const histograms = createLatencyHistogramRepository(pools.api, deadlines)

    let phase: 'starting' | 'serving' | 'draining' = 'starting'
    async function readiness(): Promise<Readiness> {
      const reasons: string[] = []
      let ok = phase === 'serving'
      if (!ok) reasons.push(phase === 'starting' ? 'The hub is starting.' : 'The hub is shutting down.')
      const database = await checkDatabase(pools.system)
      const logHealth = log.health()
      // With Kafka the hub goes on taking SETs while Postgres is away, so only the loss of both ends readiness.
      if (!database.ok) reasons.push(`Database: ${database.reason}`)
      if (!logHealth.ok || logHealth.reason) reasons.push(`Event log: ${logHealth.reason ?? 'not available'}`)
      ok &&= logHealth.ok && (database.ok || config.kafkaBrokers.length > 0)
      for (const worker of started) {
        const health = worker.health()
        if (health.reason) reasons.push(`${worker.name}: ${health.reason}`)
        if (!health.ok) ok = false
      }
      if (keys.warning) reasons.push(keys.warning)
      return { ok, reasons: [...new Set(reasons)] }
    }

    doors.reportReadiness(readiness)

    exposeBacklog(metrics, pools.api)
    metrics.gauge('firebreak_build_info', 'Always 1; the labels say what runs.', ['roles']).set(1, {
      roles: config.roles.join(','),
    })

    await start(outgoingWorker(outgoing))
    await start(notifier)
    await start(clockSync)
    await start({
      name: 'event-log',
      start: () => log.start(),
      stop: () => log.close(),
      health: () => ({ ok: true }),
    })
    if (has('upkeep')) {
      for (const lease of [sealerLease, folderLease, upkeepLease, relayLease]) await start(lease)
      await start(createAuditSealer({ db: pools.system, lease: sealerLease, logger }))
      await start(
        createLatencyFolder({
          repository: histograms,
          isLeader: () => folderLease.get(0) !== undefined,
          clock,
          logger,
        }),
      )
      await start(
        createUpkeep({
          db: pools.api,
          lease: upkeepLease,
          logger,
          dedupeWindowDays: config.dedupeWindowDays,
          retentionDays: config.retentionDays,
          eraseDaysBefore: async (trx, day) => {
            await eraseContentKeys(trx, day)
            await fanOutRepository.forgetOrders(trx, day)
            await parkedRepository.forgetSettled(trx, day)
          },
        }),
      )
      if (relay) await start(relay)
    }
    if (has('push')) {
      await start(shards)
      await start(delivery.sender)
    }
    if (has('fanout')) {
      await start(slots)
      for (const lane of LANES) await start(log.subscribe(lane, delivery.fanOut[lane]))
    }
    const routes = await createRoutes({
      config,
      issuer,
      db: pools.api,
      systemDb: pools.system,
      keys,
      audit,
      clock,
      logger,
      metrics,
      outgoing,
      log,
      transactional,
      delivery,
      notifier,
      deadlines,
      revocation,
      nextEventId: createEventIds(clock),
      attempts: createAttemptLimiter({ clock }),
    })
    for (const worker of routes.workers) await start(worker)
    doors.open({ app: routes.app, ...(has('ingest') ? { first: routes.ingest } : {}) })
    const { url, managementUrl } = doors
    // The command line needs /v1, which stands at the root whatever the issuer's path.
    const forget =
      url && has('api')
        ? announceHub(config.dataDir, {
            url: config.issuer ? new URL(config.issuer).origin : url,
            managementUrl,
          })
        : undefined
    phase = 'serving'
    logger.info('hub.started', {
      url,
      management_url: managementUrl,
      roles: config.roles,
      data: storage.described,
    })
    return {
      url,
      managementUrl,
      dataDescribed: storage.described,
      async stop() {
        phase = 'draining'
        delivery.polls.drain()
        forget?.()
        await stop()
        logger.info('hub.stopped', {})
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function outgoingWorker(outgoing: { close(): Promise<void> }): Worker {
  return {
    name: 'outgoing',
    start: async () => {},
    stop: () => outgoing.close(),
    health: () => ({ ok: true }),
  }
}
