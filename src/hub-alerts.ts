import { hostname } from 'node:os'
import { checkAlertLog, createAlertLog } from './alerts/alert-log.js'
import { countTold, exposeAlerts } from './alerts/alert-metrics.js'
import { createNoticeWorker } from './alerts/alert-notices.js'
import { createAlertReporter, createReportsProbe, type OwnCondition } from './alerts/alert-reporter.js'
import type { Channel } from './alerts/alert-repository.js'
import { type AlertService, createAlertService } from './alerts/alert-service.js'
import { createAlertWatch } from './alerts/alert-watch.js'
import { createCertificateProbe } from './alerts/certificate-read-model.js'
import { createConflictProbe } from './alerts/conflict-read-model.js'
import { createMissedObjectivesProbe } from './alerts/missed-objectives.js'
import {
  createClockCondition,
  createFallbackCondition,
  createKeysCondition,
  type MissingKeys,
} from './alerts/own-conditions.js'
import { createParkedProbe } from './alerts/parked-read-model.js'
import { shared } from './alerts/shared.js'
import { createSourceClockProbe } from './alerts/source-clock-read-model.js'
import { createStreamHealthReadModel } from './alerts/stream-health-read-model.js'
import { createStreamProbes } from './alerts/stream-probe.js'
import type { Tell } from './alerts/tell.js'
import { createUpstreamProbe } from './alerts/upstream-read-model.js'
import { createWebhook } from './alerts/webhook.js'
import type { Config } from './config/config.js'
import { createMissedObjectiveReadModel } from './enforcement/missed-objective-read-model.js'
import { readWholeLag } from './eventlog/whole-lag.js'
import type { HubBase } from './hub-base.js'
import type { HubEventLog } from './hub-event-log.js'
import type { Worker } from './kernel/worker.js'
import type { LeaseSet } from './storage/leases.js'

const SECRET_PREFIX = 'whsec_'

export interface HubAlerts {
  readonly service: AlertService
  /** Of every process: tells what only it can see of itself. */
  readonly reporter: Worker
  /** Keys that this process needs and cannot fetch are told too. */
  watchKeys(failing: () => readonly MissingKeys[]): void
  /** What one process of all does at a time. */
  watchers(lease: LeaseSet): readonly Worker[]
}

/** @throws StartupError when ALERT_LOG_FILE cannot be written */
export async function openAlerts(
  base: HubBase,
  { processId, eventLog }: { processId: string; eventLog: Pick<HubEventLog, 'log' | 'detour'> },
): Promise<HubAlerts> {
  const { config, pools, clock, logger, metrics, audit } = base
  const db = pools.api
  // Others write no alerts, and run where nobody collects them.
  const tells = config.roles.some((role) => role === 'upkeep' || role === 'api')
  if (config.alertLogFile && tells) await checkAlertLog(config.alertLogFile)
  const ways = waysOut(base)
  exposeAlerts(metrics, db)
  const told = countTold(metrics)
  const conditions: OwnCondition[] = [
    createFallbackCondition({ detour: eventLog.detour, clock, afterMs: config.alertBrokerFallbackMs }),
    createClockCondition({
      clock,
      machineNow: () => Date.now(),
      host: hostname(),
      skewMs: config.alertClockSkewMs,
    }),
  ]
  return {
    service: createAlertService({ db, audit, clock, ways }),
    reporter: createAlertReporter({ db, processId, logger, conditions }),
    watchKeys(failing) {
      conditions.push(createKeysCondition({ failing, clock, afterMs: config.alertStreamFailingMs }))
    },
    watchers(lease) {
      const isLeader = () => lease.get(0) !== undefined
      const tellers = (Object.entries(ways) as [Channel, Tell][]).map(([channel, tell]) =>
        createNoticeWorker({ db, channel, tell, isLeader, told, logger }),
      )
      const watch = createAlertWatch({
        db,
        probes: probesOf(base, eventLog.log),
        channels: Object.keys(ways) as Channel[],
        isLeader,
        onNotices: () => {
          for (const teller of tellers) teller.ring()
        },
        logger,
      })
      return [lease, ...tellers, watch]
    },
  }
}

function waysOut({ config, outgoing, clock }: HubBase): Partial<Record<Channel, Tell>> {
  const { alertWebhookUrl: url, alertLogFile: file } = config
  return {
    ...(url ? { webhook: createWebhook({ url, secrets: secretsOf(config), outgoing, clock }) } : {}),
    ...(file ? { log: createAlertLog(file, process.stdout) } : {}),
  }
}

function secretsOf({ alertWebhookSecret }: Config): Buffer[] {
  return alertWebhookSecret.map((text) => Buffer.from(text.slice(SECRET_PREFIX.length), 'base64'))
}

function probesOf({ config, pools, clock }: HubBase, log: HubEventLog['log']) {
  const db = pools.api
  const objectiveMs = config.alertRevokeObjectiveMs
  const missed = createMissedObjectiveReadModel(db)
  const lag = shared(() => readWholeLag(log))
  return [
    ...createStreamProbes({
      streams: createStreamHealthReadModel(db),
      lag,
      failingMs: config.alertStreamFailingMs,
      lagMs: config.alertLagMs,
      clock,
    }),
    createUpstreamProbe(db, config.alertStreamFailingMs),
    createParkedProbe(db),
    createMissedObjectivesProbe({
      count: (look) => missed.count(look, objectiveMs),
      lag,
      objectiveMs,
      windowMs: config.alertRevokeWindowMs,
      clock,
    }),
    createSourceClockProbe(db, { skewMs: config.alertClockSkewMs, lag, clock }),
    createConflictProbe(db),
    createCertificateProbe(db),
    createReportsProbe(db, ['broker_fallback', 'clock_skew', 'keys_unavailable']),
  ]
}
