import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Express } from 'express'
import type { AuditLog } from './audit/audit-log.js'
import { auditRouter } from './audit/audit-router.js'
import type { AttemptLimiter } from './auth/attempt-limiter.js'
import { createAuthorizationServer } from './auth/authorization-server.js'
import { bearerToken, InvalidToken } from './auth/bearer.js'
import { createCallLimiter } from './auth/call-limiter.js'
import { receiverOf, requireCaller, requireOperator, requireReceiver } from './auth/callers.js'
import { operatorRouter } from './auth/operator-router.js'
import { createOperatorService } from './auth/operator-service.js'
import { createReceiverAuth } from './auth/receiver-auth.js'
import { receiverRouter } from './auth/receiver-router.js'
import { createReceiverService, type ReceiverObserver } from './auth/receiver-service.js'
import type { Permission } from './auth/roles.js'
import type { Config } from './config/config.js'
import type { Delivery } from './delivery/delivery-service.js'
import { parkedRouter } from './delivery/parked-router.js'
import { createParkedService } from './delivery/parked-service.js'
import { pollRouter } from './delivery/poll-router.js'
import { createAcknowledgementRepository } from './enforcement/acknowledgement-repository.js'
import { acknowledgementRouter } from './enforcement/acknowledgement-router.js'
import { createAcknowledgementService } from './enforcement/acknowledgement-service.js'
import { createDeliveriesReadModel } from './enforcement/deliveries-read-model.js'
import { createEventsReadModel } from './enforcement/events-read-model.js'
import { historyRouter } from './enforcement/history-router.js'
import type { RevocationMetrics } from './enforcement/revocation-metrics.js'
import type { StageDeadlines } from './enforcement/stages.js'
import { createTimeToRevokeReadModel } from './enforcement/time-to-revoke-read-model.js'
import { timeToRevokeRouter } from './enforcement/time-to-revoke-router.js'
import type { EventLog, TransactionalLog } from './eventlog/event-log.js'
import { createApp } from './http/app.js'
import { createClientAddress } from './http/client-address.js'
import { eventRouter } from './ingest/event-router.js'
import { createEventService } from './ingest/event-service.js'
import { createIngestHandler } from './ingest/ingest-handler.js'
import { createIssuerKeys } from './ingest/issuer-keys.js'
import { createSetIngest } from './ingest/set-ingest.js'
import { createSourceBudgets } from './ingest/source-budget.js'
import { createTransmitterRegistry } from './ingest/transmitter-registry.js'
import { createTransmitterRepository } from './ingest/transmitter-repository.js'
import { transmitterRouter } from './ingest/transmitter-router.js'
import { createTransmitterService } from './ingest/transmitter-service.js'
import type { Clock } from './kernel/clock.js'
import type { Logger } from './kernel/logger.js'
import type { Metrics } from './kernel/metrics.js'
import type { Worker } from './kernel/worker.js'
import type { KeyService } from './keys/key-service.js'
import type { Outgoing } from './outgoing/outgoing.js'
import { type Database, sqlRows, type Transaction } from './storage/database.js'
import type { Notifier } from './storage/notifier.js'
import { createQueryGate } from './storage/query-gate.js'
import { createFrameworkEvents } from './streams/framework-events.js'
import { createInactivityWatch } from './streams/inactivity-watch.js'
import { issuerPath } from './streams/metadata-router.js'
import { ssfRouter } from './streams/ssf-router.js'
import type { StreamSettings } from './streams/stream.js'
import { streamOperatorRouter } from './streams/stream-operator-router.js'
import { createStreamReadModel } from './streams/stream-read-model.js'
import { createStreamService } from './streams/stream-service.js'
import { createStreamStatusService } from './streams/stream-status-service.js'
import { createSubjectService } from './streams/subject-service.js'
import { createVerificationService } from './streams/verification-service.js'

export interface RoutesOptions {
  readonly config: Config
  readonly issuer: string
  readonly db: Database
  /** For what must not wait behind requests. */
  readonly systemDb: Database
  readonly keys: KeyService
  readonly audit: AuditLog
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly outgoing: Outgoing
  readonly log: EventLog
  readonly transactional: TransactionalLog
  readonly delivery: Delivery
  readonly notifier: Notifier
  readonly deadlines: StageDeadlines
  readonly revocation: RevocationMetrics
  readonly nextEventId: () => string
  readonly attempts: AttemptLimiter
}

export interface Routes {
  readonly app: Express
  /** Served ahead of express; answers whether it took the request. */
  ingest(req: IncomingMessage, res: ServerResponse): boolean
  readonly workers: readonly Worker[]
}

const REGISTRY_CHANNEL = 'transmitters_changed'
const INACTIVITY_CHECK_MS = 15_000

/**
 * Calls of one operator or receiver. Subjects come one by one, so a receiver that names its users must get on; tokens
 * are asked for by all replicas of a point at once, when it starts.
 */
const MANAGING = { perS: 200, burst: 1_000 }
/** Polls and acknowledgements of one receiver, which go with its events. */
const DELIVERING = { perS: 2_000, burst: 4_000 }
const TOKENS = { perS: 20, burst: 1_000 }

/** Builds every service of the outside and mounts every route. */
export async function createRoutes(options: RoutesOptions): Promise<Routes> {
  const { config, issuer, db, keys, audit, clock, logger, delivery, attempts } = options
  const calls = createCallLimiter({ clock, ...MANAGING })
  const operators = createOperatorService({ db, audit, clock, attempts, calls })
  const receiverAuth = createReceiverAuth({ db, attempts, calls })
  const deliveryAuth = { ...receiverAuth, calls: createCallLimiter({ clock, ...DELIVERING }) }
  const queries = createQueryGate({ atOnce: Math.floor(config.databasePoolSize / 2) })
  const asOperator = <T>(query: () => Promise<T>): Promise<T> => queries.run('operators', query)
  const authorize = (permission: Permission) => requireOperator(operators, permission)
  const streamParts = createStreams(options)
  const ingestParts = createIngest(options)
  const receivers = createReceiverService({
    db,
    audit,
    clock,
    issuer,
    resolveSources: findSources,
    observer: receiverObserver(options, streamParts.streams),
  })
  const mountAuthorizationServer = await createAuthorizationServer({
    db,
    clock,
    logger,
    issuer,
    attempts,
    tokens: createCallLimiter({ clock, ...TOKENS }),
  })
  const parked = createParkedService({ db, audit, logger, onReplayed: (streamId) => delivery.wake(streamId) })
  const acknowledgements = createAcknowledgementService({
    repository: createAcknowledgementRepository(db),
    clock,
    metrics: options.revocation,
  })

  const timeToRevoke = createTimeToRevokeReadModel(db)
  const deliveries = createDeliveriesReadModel(db)
  const events = createEventsReadModel(db, keys)

  const app = createApp({
    logger,
    trustedProxies: config.trustedProxies,
    mount(express) {
      // Without this role only the ingest handler answers; everything else is 404.
      if (!config.roles.includes('api')) return
      mountAuthorizationServer(express)
      express.use(
        ssfRouter({
          settings: streamParts.settings,
          jwks: () => keys.setJwks(),
          receivers: receiverAuth,
          streams: streamParts.streams,
          statuses: streamParts.statuses,
          subjects: streamParts.subjects,
          verifications: streamParts.verifications,
        }),
      )
      express.use(
        `${issuerPath(issuer)}/ssf/poll`,
        pollRouter({
          polls: delivery.polls,
          authorize: requireReceiver(deliveryAuth, 'ssf.read'),
          async checkAccess(req) {
            if (!(await receiverAuth.authenticate(bearerToken(req)))) throw new InvalidToken()
          },
        }),
      )
      express.use('/v1/transmitters', ingestParts.transmitterRouter({ operator: authorize }))
      express.use('/v1/receivers', receiverRouter(receivers, operators))
      express.use('/v1/operators', operatorRouter(operators))
      express.use(
        '/v1/streams',
        streamOperatorRouter({
          operators,
          readModel: createStreamReadModel(db),
          statuses: streamParts.statuses,
        }),
      )
      express.use('/v1/parked', parkedRouter({ parked, authorize }))
      express.use('/v1/events', ingestParts.eventRouter({ operator: authorize }))
      express.use(
        acknowledgementRouter({
          service: acknowledgements,
          receiver: requireReceiver(deliveryAuth, 'ssf.read'),
          receiverOf,
          clock,
          logger,
        }),
      )
      express.use(
        timeToRevokeRouter({
          readModel: {
            query: (query, use) =>
              queries.run(query.receiverId ?? 'operators', () => timeToRevoke.query(query, use)),
          },
          caller: requireCaller({
            operators,
            receivers: receiverAuth,
            permission: 'read',
            scope: 'ssf.read',
          }),
          receiverIdOf: (res) => (res.locals.receiver ? receiverOf(res).receiverId : undefined),
          clock,
          deadlines: options.deadlines,
        }),
      )
      express.use(
        historyRouter({
          deliveries: { list: (filter) => asOperator(() => deliveries.list(filter)) },
          events: { list: (filter) => asOperator(() => events.list(filter)) },
          operator: authorize('read'),
        }),
      )
      express.use('/v1/audit', auditRouter({ db, authorize: authorize('audit.read'), run: asOperator }))
      express.get('/v1/log-keys', authorize('read'), (_req, res) => void res.json(keys.logJwks()))
    },
  })
  const { inactivityTimeoutS } = config
  const watch = createInactivityWatch({
    db,
    statuses: streamParts.statuses,
    inactivityTimeoutS: inactivityTimeoutS ?? 0,
    everyMs: INACTIVITY_CHECK_MS,
    logger,
  })
  return {
    app,
    ingest: ingestParts.handler,
    workers: inactivityTimeoutS ? [ingestParts.registry, watch] : [ingestParts.registry],
  }
}

function createStreams(options: RoutesOptions) {
  const { config, issuer, db, keys, audit, clock, outgoing, delivery } = options
  const settings: StreamSettings = {
    issuer,
    maxStreamsPerReceiver: config.maxStreamsPerReceiver,
    minVerificationIntervalS: config.minVerificationIntervalS,
    maxSubjectsPerStream: config.maxSubjectsPerStream,
    subjectRemovalGraceS: config.subjectRemovalGraceS,
    ...(config.inactivityTimeoutS ? { inactivityTimeoutS: config.inactivityTimeoutS } : {}),
    defaultSubjects: 'ALL',
  }
  const events = createFrameworkEvents({
    issuer,
    log: options.transactional,
    clock,
    nextEventId: options.nextEventId,
  })
  const shared = { db, keys, audit, observer: delivery, openWork: delivery }
  return {
    settings,
    streams: createStreamService({ ...shared, settings, outgoing }),
    statuses: createStreamStatusService({ ...shared, settings, events }),
    subjects: createSubjectService({ db, settings, keys }),
    verifications: createVerificationService({ db, settings, events }),
  }
}

function createIngest(options: RoutesOptions) {
  const { issuer, db, systemDb, audit, clock, logger, metrics, outgoing, log, notifier, nextEventId } =
    options
  const transmitters = createTransmitterRepository()
  const registry = createTransmitterRegistry({
    loadAll: () => transmitters.loadAll(systemDb),
    findOne: (id) => transmitters.find(db, id),
    clock,
    logger,
  })
  notifier.on(REGISTRY_CHANNEL, () => void registry.refresh())
  const ingest = createSetIngest({
    clock,
    keys: createIssuerKeys({ outgoing, clock, logger, metrics }),
    budgets: createSourceBudgets(clock),
    log,
    nextEventId,
  })
  const service = createTransmitterService({
    db,
    outgoing,
    audit,
    async changed() {
      await registry.refresh()
      notifier.notify(REGISTRY_CHANNEL)
    },
  })
  const events = createEventService({ db, audit, log: options.transactional, nextEventId, issuer })
  type Authorize = Parameters<typeof transmitterRouter>[0]['authorize']
  return {
    registry,
    handler: createIngestHandler({
      registry,
      ingest,
      clock,
      logger,
      metrics,
      addressOf: createClientAddress(options.config.trustedProxies),
      issuerPath: issuerPath(issuer),
    }),
    transmitterRouter: (authorize: Authorize) =>
      transmitterRouter({ transmitters: service, authorize, issuer }),
    eventRouter: (authorize: Authorize) => eventRouter({ events, authorize }),
  }
}

/** A receiver's grants decide what its streams deliver; disabling or deleting it stops them. */
function receiverObserver(
  { db, delivery }: RoutesOptions,
  streams: ReturnType<typeof createStreams>['streams'],
): ReceiverObserver {
  const idsOf = async (handle: Database, receiverId: string): Promise<string[]> => {
    const rows = await sqlRows<{ stream_id: string }>(
      handle,
      'select stream_id from streams where receiver_id = ?',
      [receiverId],
    )
    return rows.map((row) => row.stream_id)
  }
  // Once the row is gone its streams are too, but whoever sends for them must still be told.
  const deleted = new Map<string, string[]>()
  return {
    async changing(trx, receiver) {
      await streams.grantsChanged(trx as Transaction, receiver.id)
    },
    async deleting(trx, receiver) {
      const ids = await idsOf(trx, receiver.id)
      deleted.set(receiver.id, ids)
      for (const id of ids) await delivery.discard(trx as Transaction, id, 'deleted')
    },
    async changed(receiverId) {
      const ids = deleted.get(receiverId) ?? (await idsOf(db, receiverId))
      deleted.delete(receiverId)
      await Promise.all(ids.map((id) => delivery.streamChanged(id)))
    },
  }
}

async function findSources(
  db: Database,
  idsOrNames: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await sqlRows<{ id: string; name: string }>(
    db,
    'select id, name from transmitters where id::text = any(?::text[]) or name = any(?::text[])',
    [[...idsOrNames], [...idsOrNames]],
  )
  return new Map(rows.flatMap(({ id, name }) => [[id, id] as const, [name, id] as const]))
}
