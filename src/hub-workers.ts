import type { Readiness } from './http/management.js'
import type { HubBase } from './hub-base.js'
import { describeError } from './kernel/errors.js'
import type { Logger } from './kernel/logger.js'
import type { Health, Worker } from './kernel/worker.js'
import { checkDatabase } from './storage/database-check.js'

/** The workers of this process that run, in the order of their start. */
export interface Workers {
  start(...workers: Worker[]): Promise<void>
  /** In the reverse order of the start: what takes requests first, what they need last. */
  stop(): Promise<void>
  running(): readonly Worker[]
}

export function createWorkers(logger: Logger): Workers {
  const started: Worker[] = []
  return {
    async start(...workers) {
      for (const worker of workers) {
        await worker.start()
        started.push(worker)
      }
    },
    async stop() {
      for (const worker of started.splice(0).reverse()) {
        try {
          await worker.stop()
        } catch (error) {
          logger.warn('worker.stop_failed', { worker: worker.name, reason: describeError(error) })
        }
      }
    },
    running: () => started,
  }
}

/** Something that is only opened and closed, among workers. */
export function toWorker(name: string, thing: { start?(): Promise<void>; close(): Promise<void> }): Worker {
  return {
    name,
    start: async () => thing.start?.(),
    stop: () => thing.close(),
    health: () => ({ ok: true }),
  }
}

export type Phase = 'starting' | 'serving' | 'draining'

/** What /health/ready answers. */
export async function checkReadiness(
  { config, pools, keys }: HubBase,
  state: { phase: Phase; log: { health(): Health }; workers: readonly Worker[] },
): Promise<Readiness> {
  const { phase } = state
  const reasons: string[] = []
  let ok = phase === 'serving'
  if (!ok) reasons.push(phase === 'starting' ? 'The hub is starting.' : 'The hub is shutting down.')
  const database = await checkDatabase(pools.system)
  const log = state.log.health()
  // With Kafka the hub goes on taking SETs while Postgres is away, so only the loss of both ends readiness.
  if (!database.ok) reasons.push(`Database: ${database.reason}`)
  if (!log.ok || log.reason) reasons.push(`Event log: ${log.reason ?? 'not available'}`)
  ok &&= log.ok && (database.ok || config.kafkaBrokers.length > 0)
  for (const worker of state.workers) {
    const health = worker.health()
    if (health.reason) reasons.push(`${worker.name}: ${health.reason}`)
    if (!health.ok) ok = false
  }
  if (keys.warning) reasons.push(keys.warning)
  return { ok, reasons: [...new Set(reasons)] }
}
