import type { Express, Router } from 'express'
import type { StageDeadlines } from '../../src/enforcement/stages.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'

/** What the hub's settings say by default. */
export const STAGE_DEADLINES: StageDeadlines = { received: 30_000, applied: 60_000, verified: 120_000 }

/** One router of the room behind the real app shell. */
export function appOf(router: Router): Express {
  return createApp({ logger: silentLogger, mount: (express) => void express.use(router) })
}
