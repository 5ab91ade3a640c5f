import type { Express } from 'express'
import { createAttemptLimiter } from '../../src/auth/attempt-limiter.js'
import type { AuditTrail } from '../../src/auth/audit-trail.js'
import { createAuthorizationServer } from '../../src/auth/authorization-server.js'
import type { CallLimiter } from '../../src/auth/call-limiter.js'
import {
  callerOf,
  type OperatorAuth,
  operatorOf,
  type ReceiverAuth,
  receiverOf,
  requireCaller,
  requireOperator,
  requireReceiver,
} from '../../src/auth/callers.js'
import type { ExternalTokens } from '../../src/auth/external-tokens.js'
import { ensureFirstAdmin } from '../../src/auth/first-admin.js'
import { operatorRouter } from '../../src/auth/operator-router.js'
import { createOperatorService } from '../../src/auth/operator-service.js'
import { createReceiverAuth } from '../../src/auth/receiver-auth.js'
import { receiverRouter } from '../../src/auth/receiver-router.js'
import { createReceiverService, type ReceiverObserver } from '../../src/auth/receiver-service.js'
import { createApp } from '../../src/http/app.js'
import { type Clock, createClock } from '../../src/kernel/clock.js'
import { newId } from '../../src/kernel/ids.js'
import { type Logger, silentLogger } from '../../src/kernel/logger.js'
import type { Database } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

export const ISSUER = 'http://127.0.0.1:8080'

/** Writes the row, as the audit room does, and no more. */
export const plainAudit: AuditTrail = {
  async record(trx, { actor, action, target, detail }) {
    await trx('audit_log').insert({
      id: newId(),
      actor,
      action,
      target: target ?? null,
      detail: detail ?? {},
    })
  },
}

export interface AuthApp {
  app: Express
  db: Database
  test: TestDatabase
  operators: OperatorAuth
  receivers: ReceiverAuth
  adminToken: string
  auditActions(): Promise<string[]>
  close(): Promise<void>
}

export interface AuthAppOptions {
  issuer?: string
  failures?: number
  observer?: ReceiverObserver
  tokenLifetimeS?: number
  /** Bounds calls and tokens of one caller. */
  calls?: CallLimiter
  /** Default: the machine's. */
  clock?: Clock
  /** Of the authorization server. */
  logger?: Logger
  /** Tokens of another issuer; the hub's own authorization server stands beside it, which no hub has. */
  external?: ExternalTokens
  /** Another way to the same database. */
  openDb?(test: TestDatabase): Database
}

/** The whole room on a Postgres of its own, with one plain route behind each kind of check. */
export async function createAuthApp(options: AuthAppOptions = {}): Promise<AuthApp> {
  const test = await createTestDatabase()
  const db = options.openDb?.(test) ?? test.db
  const { clock = createClock(), external } = options
  const issuer = options.issuer ?? ISSUER
  const attempts = createAttemptLimiter({ clock, failures: options.failures ?? 1000 })
  const limits = options.calls ? { calls: options.calls } : {}
  const operators = createOperatorService({ db, audit: plainAudit, clock, attempts, ...limits })
  const receivers = createReceiverAuth({ db, attempts, external, ...limits })
  const service = createReceiverService({
    db,
    audit: plainAudit,
    clock,
    issuer,
    externalIssuer: external?.issuer,
    ...(options.observer && { observer: options.observer }),
  })
  const mountOauth = await createAuthorizationServer({
    db,
    clock,
    logger: options.logger ?? silentLogger,
    issuer,
    attempts,
    ...(options.calls && { tokens: options.calls }),
    ...(options.tokenLifetimeS !== undefined && { tokenLifetimeS: options.tokenLifetimeS }),
  })
  const adminToken = await ensureFirstAdmin({ db, audit: plainAudit, logger: silentLogger })
  const app = createApp({
    logger: silentLogger,
    mount(app) {
      mountOauth(app)
      app.use('/v1/operators', operatorRouter(operators))
      app.use('/v1/receivers', receiverRouter(service, operators))
      app.get(
        '/as-operator',
        requireOperator(operators, 'read'),
        (_req, res) => void res.json(operatorOf(res)),
      )
      app.get(
        '/as-reader',
        requireReceiver(receivers, 'ssf.read'),
        (_req, res) => void res.json(receiverOf(res)),
      )
      app.get(
        '/as-manager',
        requireReceiver(receivers, 'ssf.manage'),
        (_req, res) => void res.json(receiverOf(res)),
      )
      const rule = { operators, receivers, permission: 'read', scope: 'ssf.read' } as const
      app.get('/as-caller', requireCaller(rule), (_req, res) => void res.json(callerOf(res)))
    },
  })
  return {
    app,
    db,
    test,
    operators,
    receivers,
    adminToken: adminToken ?? '',
    auditActions: async () => {
      const rows = await db<{ action: string }>('audit_log').orderBy('at').select('action')
      return rows.map((row) => row.action)
    },
    close: () => test.close(),
  }
}
