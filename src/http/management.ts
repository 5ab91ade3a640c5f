import type { Express, RequestHandler } from 'express'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { createApp } from './app.js'

export interface Readiness {
  ok: boolean
  /** Plain sentences: why not ready, or, when ok, what a person should know. */
  reasons: string[]
}

export interface ManagementOptions {
  readiness(): Promise<Readiness>
  /** False only for what a restart would heal. Default: alive while this answers. */
  liveness?(): Readiness
  metrics: Pick<Metrics, 'render'>
  logger: Logger
}

/** `/health/live`, `/health/ready` and `/metrics`, on a port of their own, without a token. */
export function createManagementApp(options: ManagementOptions): Express {
  const live: RequestHandler = (_req, res) => {
    const { ok, reasons } = options.liveness?.() ?? { ok: true, reasons: [] }
    res.status(ok ? 200 : 503).json({ status: ok ? 'alive' : 'failing', reasons })
  }
  const ready: RequestHandler = async (_req, res) => {
    const { ok, reasons } = await options.readiness()
    res.status(ok ? 200 : 503).json({ status: ok ? 'ready' : 'not_ready', reasons })
  }
  const scrape: RequestHandler = async (_req, res) => {
    res.type('text/plain; version=0.0.4; charset=utf-8').send(await options.metrics.render())
  }
  return createApp({
    logger: options.logger,
    mount(app) {
      app.get('/health/live', live)
      app.get('/health/ready', ready)
      app.get('/metrics', scrape)
    },
  })
}
