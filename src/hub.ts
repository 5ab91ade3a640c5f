import { createAttemptLimiter } from './auth/attempt-limiter.js'
import type { Config } from './config/config.js'
import type { Role } from './config/settings.js'
import { exposeBacklog } from './delivery/delivery-service.js'
import { createRevocationMetrics } from './enforcement/revocation-metrics.js'
import { exposeLag } from './eventlog/log-metrics.js'
import { openAlerts } from './hub-alerts.js'
import { type HubBase, openBase } from './hub-base.js'
import { openDelivery } from './hub-delivery.js'
import { type Doors, openDoors } from './hub-doors.js'
import { openEventLog } from './hub-event-log.js'
import { createRoutes } from './hub-routes.js'
import { createServices } from './hub-services.js'
import { openStorage } from './hub-storage.js'
import { announceHub } from './hub-traces.js'
import { erasuresRequested, upkeepWorkers } from './hub-upkeep.js'
import { checkReadiness, createWorkers, type Phase, toWorker, type Workers } from './hub-workers.js'
import { armCrashpoint, readCrashpoint } from './kernel/crashpoint.js'
import { createEventIds, newId } from './kernel/ids.js'
import type { Logger } from './kernel/logger.js'
import { createMetrics } from './kernel/metrics.js'
import { readKeyFiles } from './keys/key-watch.js'
import { LANES, SLOT_COUNT } from './secevent/event.js'
import { EVENTS_SUPPORTED } from './secevent/event-types.js'
import { createLeases } from './storage/leases.js'
import { SHARD_COUNT } from './streams/stream.js'
import { UPSTREAM_UNITS } from './upstream/upstream-worker.js'

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
  breakOnPurpose(config, logger)
  const metrics = createMetrics({ processMetrics: true })
  const keyFiles = readKeyFiles(config.signingKeyFiles)
  const doors = await openDoors({ config, metrics, logger })
  const storage = await openStorage({ ...options, onLost: options.onFatal }).catch(async (error: unknown) => {
    await Promise.all([doors.closeHttp(), doors.closeManagement()])
    throw error
  })
  const workers = createWorkers(logger)
  async function stop(): Promise<void> {
    await doors.closeHttp()
    await workers.stop()
    await doors.closeManagement()
    await storage.close()
  }
  try {
    const base = await openBase({ ...options, metrics, doors, storage, keyFiles })
    const { delivery, setPhase } = await startWork(base, { doors, workers })
    const forget = announce(config, doors)
    setPhase('serving')
    const { url, managementUrl } = doors
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
        setPhase('draining')
        delivery.polls.drain()
        forget()
        await stop()
        logger.info('hub.stopped', {})
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Never in production, so it is said as loudly as a log can. */
function breakOnPurpose({ firebreakTestFaults: faults, firebreakCrashpoint }: Config, logger: Logger): void {
  if (faults.length > 0) logger.error('test_faults.armed', { faults, crashpoint: firebreakCrashpoint })
  const at = firebreakCrashpoint === undefined ? undefined : readCrashpoint(firebreakCrashpoint)
  if (at) armCrashpoint(at)
}

/** Builds the rooms, starts what this process's roles ask for, and opens the doors last. */
async function startWork(base: HubBase, { doors, workers }: { doors: Doors; workers: Workers }) {
  const { config, pools, clock, logger, metrics } = base
  const has = (role: Role) => config.roles.includes(role)
  const processId = newId()
  const leases = (kind: string, units: number) =>
    createLeases({ db: pools.system, kind, units, processId, clock, logger })
  const shards = leases('delivery', SHARD_COUNT)
  const slots = leases('fanout', SLOT_COUNT)
  const relayLease = leases('log-relay', 1)
  const eventLog = openEventLog({ ...base, slots, relayLease })
  const { log, relay } = eventLog
  const revocation = createRevocationMetrics(metrics, EVENTS_SUPPORTED)
  const nextEventId = createEventIds(clock)
  const streamWork = openDelivery(base, { shards, revocation, eventLog, nextEventId })
  const { delivery } = streamWork
  const deadlines = {
    received: config.receivedDeadlineMs,
    applied: config.appliedDeadlineMs,
    verified: config.verifiedDeadlineMs,
  }
  let phase: Phase = 'starting'
  doors.reportReadiness(() => checkReadiness(base, { phase, log, workers: workers.running() }))
  exposeBacklog(metrics, pools.api)
  exposeLag(metrics, log)
  metrics.gauge('firebreak_build_info', 'Always 1; the labels say what runs.', ['roles']).set(1, {
    roles: config.roles.join(','),
  })

  const alerts = await openAlerts(base, { processId, eventLog })
  await workers.start(
    toWorker('outgoing', base.outgoing),
    base.notifier,
    base.clockSync,
    toWorker('event-log', log),
    ...(doors.tlsWatch ? [doors.tlsWatch] : []),
    alerts.reporter,
  )
  if (has('upkeep')) {
    await workers.start(
      ...upkeepWorkers(base, { lease: (kind) => leases(kind, 1), deadlines, log, delivery }),
      relayLease,
      ...alerts.watchers(leases('alerts', 1)),
    )
    if (relay) await workers.start(relay)
  }
  if (has('push')) await workers.start(shards, delivery.sender)
  if (has('fanout')) {
    await workers.start(slots, ...LANES.map((lane) => log.subscribe(lane, delivery.fanOut[lane])))
  }
  const attempts = createAttemptLimiter({ clock })
  const services = createServices(base, {
    ...streamWork,
    eventLog,
    revocation,
    attempts,
    nextEventId,
    alerts: alerts.service,
    erasuresRequested: () => erasuresRequested(base),
  })
  alerts.watchKeys(services.failingKeys)
  const app = await createRoutes(base, { services, delivery, deadlines, attempts })
  await workers.start(...services.workers)
  if (has('poll-upstream')) {
    const upstreamLeases = leases('upstream', UPSTREAM_UNITS)
    const upstream = services.upstreamWorker(upstreamLeases)
    await workers.start(upstreamLeases, upstream)
  }
  doors.open({ app, ...(has('ingest') ? { first: services.handleIngest } : {}) })
  return {
    delivery,
    setPhase(next: Phase) {
      phase = next
    },
  }
}

/**
 * Tells the command line on this machine where the API is.
 * @returns takes it back
 */
function announce(config: Config, { url, managementUrl }: Doors): () => void {
  if (!url || !config.roles.includes('api')) return () => {}
  // The command line needs /v1, which stands at the root whatever the issuer's path.
  return announceHub(config.dataDir, {
    url: config.issuer ? new URL(config.issuer).origin : url,
    managementUrl,
  })
}
