import type { Express } from 'express'
import { alertRouter } from './alerts/alert-router.js'
import { auditRouter } from './audit/audit-router.js'
import type { AttemptLimiter } from './auth/attempt-limiter.js'
import { createAuthorizationServer } from './auth/authorization-server.js'
import { bearerToken, InvalidToken } from './auth/bearer.js'
import { createCallLimiter } from './auth/call-limiter.js'
import {
  actorOf,
  callerOf,
  receiverOf,
  requireCaller,
  requireOperator,
  requireReceiver,
} from './auth/callers.js'
import { operatorRouter } from './auth/operator-router.js'
import { receiverRouter } from './auth/receiver-router.js'
import { resourceMetadataRouter } from './auth/resource-metadata-router.js'
import type { Permission } from './auth/roles.js'
import type { Delivery } from './delivery/delivery-service.js'
import { erasureRouter } from './delivery/erasure-router.js'
import { parkedRouter } from './delivery/parked-router.js'
import { pollRouter } from './delivery/poll-router.js'
import { acknowledgementRouter } from './enforcement/acknowledgement-router.js'
import { createDeliveriesReadModel } from './enforcement/deliveries-read-model.js'
import { createEventsReadModel } from './enforcement/events-read-model.js'
import { historyRouter } from './enforcement/history-router.js'
import type { StageDeadlines } from './enforcement/stages.js'
import { createTimeToRevokeReadModel } from './enforcement/time-to-revoke-read-model.js'
import { timeToRevokeRouter } from './enforcement/time-to-revoke-router.js'
import { apiDocsRouter } from './http/api-docs-router.js'
import { createApp } from './http/app.js'
import { methodRouter } from './http/method-router.js'
import type { QueryRunner } from './http/query-runner.js'
import type { HubBase } from './hub-base.js'
import { describeHub } from './hub-description.js'
import type { Services } from './hub-services.js'
import { eventRouter } from './ingest/event-router.js'
import { transmitterRouter } from './ingest/transmitter-router.js'
import { keysRouter } from './keys/keys-router.js'
import { eventTypeRouter } from './streams/event-type-router.js'
import { pathsBelow } from './streams/metadata-router.js'
import { ssfRouter } from './streams/ssf-router.js'
import { streamOperatorRouter } from './streams/stream-operator-router.js'
import { createStreamReadModel } from './streams/stream-read-model.js'
import { streamTlsRouter } from './streams/stream-tls-router.js'

/** Of the token endpoint; tokens are asked for by all replicas of a point at once, when it starts. */
const TOKENS = { perS: 20, burst: 1_000 }

export interface RouteParts {
  readonly services: Services
  readonly delivery: Pick<Delivery, 'polls'>
  readonly deadlines: StageDeadlines
  readonly attempts: AttemptLimiter
}

/** Mounts every route but ingest, which is served ahead of express. */
export async function createRoutes(base: HubBase, parts: RouteParts): Promise<Express> {
  const { config, issuer, pools, clock, logger } = base
  const mountAuthorizationServer = config.oauthIssuer
    ? () => {}
    : await createAuthorizationServer({
        db: pools.api,
        clock,
        logger,
        issuer,
        attempts: parts.attempts,
        tokens: createCallLimiter({ clock, ...TOKENS }),
      })
  const document = describeHub({ issuer, oauthIssuer: config.oauthIssuer })
  return createApp({
    logger,
    trustedProxies: config.trustedProxies,
    mount(app) {
      // Without this role only the ingest handler answers; everything else is 404.
      if (!config.roles.includes('api')) return
      app.use(apiDocsRouter(document))
      mountAuthorizationServer(app)
      app.use(resourceMetadataRouter(issuer, config.oauthIssuer ?? issuer))
      mountReceiverRoutes(app, base, parts)
      mountOperatorRoutes(app, base, parts)
      mountTimeToRevoke(app, base, parts)
      app.use(methodRouter(document))
    },
  })
}

/** Operators and receivers each have places of their own, and share them out by caller. */
function queryRunner({ operatorQueries, receiverQueries }: Services): QueryRunner {
  return (res, query) => {
    const { operator, receiver } = callerOf(res)
    return operator
      ? operatorQueries.run(operator.id, query)
      : receiverQueries.run(receiver.receiverId, query)
  }
}

/** What receivers call: SSF, polls and acknowledgements. */
function mountReceiverRoutes(app: Express, base: HubBase, { services, delivery }: RouteParts): void {
  const { issuer, keys, clock, logger } = base
  const {
    receiverAuth,
    deliveryAuth,
    settings,
    defaultSubjects,
    streams,
    statuses,
    subjects,
    verifications,
  } = services
  const reader = requireReceiver(deliveryAuth, 'ssf.read')
  app.use(
    ssfRouter({
      settings,
      defaultSubjects,
      jwks: () => keys.setJwks(),
      jwksMaxAgeS: keys.jwksMaxAgeS,
      receivers: receiverAuth,
      streams,
      statuses,
      subjects,
      verifications,
    }),
  )
  app.use(
    pathsBelow(issuer, '/ssf/poll'),
    pollRouter({
      polls: delivery.polls,
      authorize: reader,
      async checkAccess(req) {
        if (!(await receiverAuth.authenticate(bearerToken(req)))) throw new InvalidToken()
      },
    }),
  )
  app.use(
    acknowledgementRouter({
      service: services.acknowledgements,
      receiver: reader,
      receiverOf,
      clock,
      logger,
    }),
  )
}

function mountOperatorRoutes(app: Express, base: HubBase, { services }: RouteParts): void {
  const { issuer, keys } = base
  const { operators, statuses, verifications } = services
  const db = base.pools.api
  const authorize = (permission: Permission) => requireOperator(operators, permission)
  const rule = { operator: authorize }
  const run = queryRunner(services)
  app.use(
    '/v1/transmitters',
    transmitterRouter({ transmitters: services.transmitters, authorize: rule, issuer }),
  )
  app.use('/v1/receivers', receiverRouter(services.receivers, operators))
  app.use('/v1/operators', operatorRouter(operators))
  app.use(
    '/v1/streams',
    streamOperatorRouter({ operators, readModel: createStreamReadModel(db), statuses, verifications }),
  )
  app.use('/v1/streams', streamTlsRouter({ operators, tls: services.streamTls }))
  app.use('/v1/event-types', eventTypeRouter({ types: services.types, authorize }))
  app.use('/v1/subjects', erasureRouter({ erasures: services.erasures, authorize }))
  app.use('/v1/parked', parkedRouter({ parked: services.parked, authorize }))
  app.use('/v1/alerts', alertRouter({ alerts: services.alerts, authorize }))
  app.use('/v1/events', eventRouter({ events: services.events, authorize: rule }))
  app.use(
    historyRouter({
      deliveries: createDeliveriesReadModel(db, keys.jtis),
      events: createEventsReadModel(db, keys),
      operator: authorize('read'),
      run,
    }),
  )
  app.use('/v1/audit', auditRouter({ db, authorize: authorize('audit.read'), run }))
  app.use(
    '/v1/keys',
    keysRouter({
      rotation: services.keyRotation,
      authorize: { read: authorize('read'), manage: authorize('keys.manage') },
      actorOf,
    }),
  )
  app.get('/v1/log-keys', authorize('read'), (_req, res) => void res.json(keys.logJwks()))
}

/** For operators, who see all, and receivers, who see their own. */
function mountTimeToRevoke(app: Express, base: HubBase, { services, deadlines }: RouteParts): void {
  const { operators, receiverAuth } = services
  app.use(
    timeToRevokeRouter({
      readModel: createTimeToRevokeReadModel(base.pools.api),
      run: queryRunner(services),
      caller: requireCaller({ operators, receivers: receiverAuth, permission: 'read', scope: 'ssf.read' }),
      receiverIdOf: (res) => callerOf(res).receiver?.receiverId,
      clock: base.clock,
      deadlines,
    }),
  )
}
