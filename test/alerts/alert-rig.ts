import { randomBytes } from 'node:crypto'
import type { AlertKind, Condition, Probe } from '../../src/alerts/alert.js'
import { countTold } from '../../src/alerts/alert-metrics.js'
import { createNoticeWorker } from '../../src/alerts/alert-notices.js'
import type { Channel } from '../../src/alerts/alert-repository.js'
import { createAlertWatch } from '../../src/alerts/alert-watch.js'
import type { Tell } from '../../src/alerts/tell.js'
import { createWebhook } from '../../src/alerts/webhook.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import type { Worker } from '../../src/kernel/worker.js'
import { createOutgoing } from '../../src/outgoing/outgoing.js'
import type { Database } from '../../src/storage/database.js'

export const SECRET = randomBytes(32)
export const clock = createClock()
/** Short, so that a test need not wait for what takes a person seconds. */
const EVERY_MS = 30
export const CLEAR_AFTER_MS = 500

export function conditionOf(kind: AlertKind, object: string, detail: object = {}): Condition {
  return { kind, object, summary: `${kind} at ${object}`, detail: { ...detail } }
}

/** A probe whose findings a test sets. */
export interface ScriptedProbe extends Probe {
  find(...conditions: Condition[]): void
  fail(error: Error): void
  looks(): number
}

export function scriptedProbe(...kinds: AlertKind[]): ScriptedProbe {
  let found: Condition[] = []
  let failure: Error | undefined
  let looks = 0
  return {
    kinds,
    looks: () => looks,
    async look() {
      looks += 1
      if (failure) throw failure
      return found
    },
    find(...conditions) {
      failure = undefined
      found = conditions
    },
    fail(error) {
      failure = error
    },
  }
}

export interface AlertProcess {
  /** Whether it holds the lease. */
  lead(leads: boolean): void
  readonly metrics: Metrics
  stop(): Promise<void>
}

/** The alert workers of one process, as `hub-alerts` wires them, without its lease. */
export async function startProcess(options: {
  db: Database
  probes: readonly Probe[]
  tell: Partial<Record<Channel, Tell>>
  maxOpenOfAKind?: number
}): Promise<AlertProcess> {
  const { db } = options
  let leads = true
  const isLeader = () => leads
  const metrics = createMetrics()
  const told = countTold(metrics)
  const common = { db, isLeader, logger: silentLogger, everyMs: EVERY_MS }
  const channels = Object.keys(options.tell) as Channel[]
  const tellers = channels.map((channel) =>
    createNoticeWorker({ ...common, channel, told, tell: options.tell[channel] as Tell, firstWaitMs: 20 }),
  )
  const watch = createAlertWatch({
    ...common,
    probes: options.probes,
    channels,
    clearAfterMs: CLEAR_AFTER_MS,
    onNotices: () => {
      for (const teller of tellers) teller.ring()
    },
    ...(options.maxOpenOfAKind === undefined ? {} : { maxOpenOfAKind: options.maxOpenOfAKind }),
  })
  const workers: Worker[] = [...tellers, watch]
  for (const worker of workers) await worker.start()
  return {
    lead(next) {
      leads = next
    },
    metrics,
    async stop() {
      for (const worker of workers.reverse()) await worker.stop()
    },
  }
}

export const outgoing = () => createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })

export function webhookTo(url: string, door: ReturnType<typeof outgoing>, secrets = [SECRET]): Tell {
  return createWebhook({ url, secrets, outgoing: door, clock })
}
