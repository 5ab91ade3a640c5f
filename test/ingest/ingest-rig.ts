import { createAuditLog } from '../../src/audit/audit-log.js'
import { Forbidden } from '../../src/auth/bearer.js'
import type { TransactionalLog } from '../../src/eventlog/event-log.js'
import { createApp } from '../../src/http/app.js'
import { createHttpServer } from '../../src/http/server.js'
import { eventRouter } from '../../src/ingest/event-router.js'
import { createEventService } from '../../src/ingest/event-service.js'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import { createTransmitterRegistry } from '../../src/ingest/transmitter-registry.js'
import { createTransmitterRepository } from '../../src/ingest/transmitter-repository.js'
import { type Authorize, transmitterRouter } from '../../src/ingest/transmitter-router.js'
import { createTransmitterService } from '../../src/ingest/transmitter-service.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createOutgoing } from '../../src/outgoing/outgoing.js'
import type { Lane } from '../../src/secevent/event.js'
import { BUILT_IN_EVENT_TYPES } from '../../src/secevent/event-types.js'
import type { Database } from '../../src/storage/database.js'
import { createUpstreamService } from '../../src/upstream/upstream-service.js'
import { listLog } from './ingest-fixture.js'

export type Body = Record<string, unknown>
export type IngestRig = Awaited<ReturnType<typeof startIngestRig>>

/** Marks what was sealed; the key ring has tests of its own. */
const plainSeals = {
  seal: (plain: string, context: string) =>
    Buffer.from(`sealed ${context} ${Buffer.from(plain).toString('hex')}`),
  open: (sealed: Buffer) => Buffer.from(sealed.toString().split(' ').at(-1) ?? '', 'hex'),
}

/** The whole room over real HTTP and Postgres, wired as the hub does; the log is a list, the caller whoever the test says. */
export async function startIngestRig(db: Database) {
  const clock = createClock()
  const metrics = createMetrics()
  const log = listLog()
  const audit = createAuditLog()
  const outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1/32'] })
  const repository = createTransmitterRepository()
  const registry = createTransmitterRegistry({
    loadAll: () => repository.loadAll(db),
    findOne: (id) => repository.find(db, id),
    clock,
    logger: silentLogger,
  })
  let permitted: readonly string[] | undefined
  const authorize: Authorize = {
    operator: (permission) => (_req, res, next) => {
      res.locals.operator = { id: 'o', name: 'ann', role: 'operator' }
      next(permitted && !permitted.includes(permission) ? new Forbidden('Not yours.') : undefined)
    },
  }
  const nextEventId = createEventIds(clock)
  const keys = createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics })
  const ingest = createSetIngest({ clock, keys, budgets: createSourceBudgets(clock), log, nextEventId })
  const transmitters = createTransmitterService({
    db,
    outgoing,
    audit,
    streams: createUpstreamService({
      db,
      keys: plainSeals,
      outgoing,
      eventTypes: BUILT_IN_EVENT_TYPES,
      wake() {},
    }),
    eventTypes: BUILT_IN_EVENT_TYPES,
    changed: () => registry.refresh(),
  })
  const woken: { lanes: readonly Lane[]; auditRows: Promise<unknown[]> }[] = []
  const transactional: TransactionalLog = {
    appendIn: (_trx, added) => log.append(added),
    // Of another connection: it sees what was committed before.
    wake: (lanes) => void woken.push({ lanes, auditRows: auditRows(db, log.events.at(-1)?.eventId) }),
  }
  const events = createEventService({
    db,
    audit,
    log: transactional,
    nextEventId,
    issuer: 'https://hub.example',
    eventTypes: BUILT_IN_EVENT_TYPES,
  })
  const server = createHttpServer({
    host: '127.0.0.1',
    port: 0,
    app: createApp({
      logger: silentLogger,
      mount(app) {
        app.use(
          '/v1/transmitters',
          transmitterRouter({ transmitters, authorize, issuer: 'https://hub.example/' }),
        )
        app.use('/v1/events', eventRouter({ events, authorize }))
      },
    }),
    first: createIngestHandler({ registry, ingest, clock, logger: silentLogger, metrics }),
    logger: silentLogger,
    drainMs: 100,
  })
  await server.start()
  await registry.start()
  const url = `http://127.0.0.1:${server.port()}`

  return {
    log,
    /** Each wake of the log, and the audit rows of the last event that stood committed then. */
    woken,
    registry,
    /** Undefined: everything. */
    permit(permissions: readonly string[] | undefined) {
      permitted = permissions
    },
    async call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Body }> {
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(url + path, {
        method,
        headers,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      return { status: answer.status, body: text ? (JSON.parse(text) as Body) : {} }
    },
    push: (id: unknown, set: string, headers: Record<string, string> = {}) =>
      fetch(`${url}/ingest/${id}`, { method: 'POST', headers, body: set }),
    auditOf: (target: unknown) => auditRows(db, target),
    async stop() {
      await registry.stop()
      await server.stop()
      await outgoing.close()
    },
  }
}

async function auditRows(
  db: Database,
  target: unknown,
): Promise<{ actor: string; action: string; detail: Body }[]> {
  return await db('audit_log')
    .where({ target: String(target) })
    .orderBy('at')
    .select('actor', 'action', 'detail')
}
