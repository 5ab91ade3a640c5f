import type { AlertService } from './alerts/alert-service.js'
import type { AttemptLimiter } from './auth/attempt-limiter.js'
import { createCallLimiter } from './auth/call-limiter.js'
import { createOperatorService } from './auth/operator-service.js'
import { createReceiverAuth } from './auth/receiver-auth.js'
import { createReceiverService } from './auth/receiver-service.js'
import { createErasureService } from './delivery/erasure-service.js'
import { createParkedService } from './delivery/parked-service.js'
import { createAcknowledgementRepository } from './enforcement/acknowledgement-repository.js'
import { createAcknowledgementService } from './enforcement/acknowledgement-service.js'
import type { RevocationMetrics } from './enforcement/revocation-metrics.js'
import { createClientAddress } from './http/client-address.js'
import type { HubBase } from './hub-base.js'
import type { HubDelivery } from './hub-delivery.js'
import type { HubEventLog } from './hub-event-log.js'
import { openKeyRotation } from './hub-keys.js'
import { openExternalTokens, toIssuerWatch } from './hub-oauth.js'
import { openUpstream } from './hub-upstream.js'
import { createEventService } from './ingest/event-service.js'
import { createIngestHandler } from './ingest/ingest-handler.js'
import { createIssuerKeys } from './ingest/issuer-keys.js'
import { createSetIngest } from './ingest/set-ingest.js'
import { createSetObserver } from './ingest/set-observer.js'
import { createSourceBudgets } from './ingest/source-budget.js'
import { createTransmitterRegistry } from './ingest/transmitter-registry.js'
import { createTransmitterRepository } from './ingest/transmitter-repository.js'
import { createTransmitterService } from './ingest/transmitter-service.js'
import { issuerPath } from './kernel/issuer-url.js'
import type { Worker } from './kernel/worker.js'
import type { EventTypes } from './secevent/event-types.js'
import type { LeaseSet } from './storage/leases.js'
import { createQueryGate } from './storage/query-gate.js'
import { createDefaultSubjects } from './streams/default-subjects.js'
import { createEventTypeRegistry } from './streams/event-type-registry.js'
import { createEventTypeService } from './streams/event-type-service.js'
import { createInactivityWatch } from './streams/inactivity-watch.js'
import { createReceiverChanges } from './streams/receiver-changes.js'
import type { StreamSettings } from './streams/stream.js'
import { createStreamService, type StreamService } from './streams/stream-service.js'
import type { StreamStatusService } from './streams/stream-status-service.js'
import { createStreamTlsService } from './streams/stream-tls-service.js'
import { createSubjectService } from './streams/subject-service.js'
import { createVerificationService } from './streams/verification-service.js'

export interface ServiceParts extends HubDelivery {
  readonly eventLog: Pick<HubEventLog, 'log' | 'transactional'>
  readonly revocation: RevocationMetrics
  readonly attempts: AttemptLimiter
  readonly nextEventId: () => string
  readonly alerts: AlertService
  /** Wakes whoever works erasures off. */
  erasuresRequested(): void
}

export type Services = ReturnType<typeof createServices>

const REGISTRY_CHANNEL = 'transmitters_changed'
const EVENT_TYPES_CHANNEL = 'event_types_changed'
const INACTIVITY_CHECK_MS = 15_000

/**
 * Calls of one operator or receiver. Subjects come one by one, so a receiver that names its users must get on.
 */
const MANAGING = { perS: 200, burst: 1_000 }
/** Polls and acknowledgements of one receiver, which go with its events. */
const DELIVERING = { perS: 2_000, burst: 4_000 }

/** The services behind the routes, each with what it needs of the others. */
export function createServices(base: HubBase, parts: ServiceParts) {
  const { config, pools, audit, clock, logger } = base
  const { delivery, attempts } = parts
  const db = pools.api
  const streams = createStreamServices(base, parts)
  const calls = createCallLimiter({ clock, ...MANAGING })
  const { eventTypes, ...typeServices } = createTypeServices(base, streams.streams)
  const { registry, issuerKeys, ...ingest } = createIngestServices(base, parts, eventTypes)
  const external = openExternalTokens(base, issuerKeys)
  const receiverAuth = createReceiverAuth({ db, attempts, calls, external })
  const { rotation, watch } = openKeyRotation(base)
  return {
    ...streams,
    ...typeServices,
    ...ingest,
    /** Not started yet. */
    workers: [
      watch,
      eventTypes,
      registry,
      inactivityWatch(base, streams.statuses),
      ...(external ? [toIssuerWatch(external)] : []),
    ] as readonly Worker[],
    alerts: parts.alerts,
    failingKeys: issuerKeys.failing,
    keyRotation: rotation,
    operators: createOperatorService({ db, audit, clock, attempts, calls }),
    receiverAuth,
    deliveryAuth: { ...receiverAuth, calls: createCallLimiter({ clock, ...DELIVERING }) },
    /** Slow queries: a part of the connections, so that calls that manage get through. Receivers crowd out no operator. */
    operatorQueries: createQueryGate({ atOnce: Math.max(1, Math.floor(config.databasePoolSize / 2)) }),
    receiverQueries: createQueryGate({ atOnce: Math.max(1, Math.floor(config.databasePoolSize / 6)) }),
    receivers: createReceiverService({
      db,
      audit,
      clock,
      issuer: base.issuer,
      externalIssuer: external?.issuer,
      observer: createReceiverChanges({
        db,
        streams: streams.streams,
        observer: delivery,
        openWork: delivery,
      }),
    }),
    parked: createParkedService({ db, audit, logger, onReplayed: (streamId) => delivery.wake(streamId) }),
    erasures: createErasureService({
      db,
      audit,
      keys: base.keys,
      requested: () => parts.erasuresRequested(),
    }),
    acknowledgements: createAcknowledgementService({
      repository: createAcknowledgementRepository(db),
      clock,
      metrics: parts.revocation,
      jtis: base.keys.jtis,
    }),
  }
}

function createStreamServices(base: HubBase, { delivery, statuses, events }: ServiceParts) {
  const { config, issuer, keys, audit, outgoing } = base
  const db = base.pools.api
  const settings: StreamSettings = {
    issuer,
    maxStreamsPerReceiver: config.maxStreamsPerReceiver,
    minVerificationIntervalS: config.minVerificationIntervalS,
    maxSubjectsPerStream: config.maxSubjectsPerStream,
    subjectRemovalGraceS: config.subjectRemovalGraceS,
    ...(config.inactivityTimeoutS ? { inactivityTimeoutS: config.inactivityTimeoutS } : {}),
  }
  const shared = { db, settings, keys, audit, events, observer: delivery, openWork: delivery }
  return {
    settings,
    defaultSubjects: createDefaultSubjects(db, base.clock),
    streams: createStreamService({ ...shared, outgoing }),
    statuses,
    subjects: createSubjectService(shared),
    verifications: createVerificationService(shared),
    streamTls: createStreamTlsService({ ...shared, clock: base.clock }),
  }
}

/** Event types: the registry that all go by, and what operators do to it. */
function createTypeServices({ config, pools, audit, logger, notifier }: HubBase, streams: StreamService) {
  const eventTypes = createEventTypeRegistry({
    db: pools.system,
    logger,
    onChanged: async () => config.roles.includes('api') && streams.eventTypesChanged(),
  })
  // A failure is told by the registry's own rounds.
  notifier.on(EVENT_TYPES_CHANNEL, () => void eventTypes.refresh().catch(() => {}))
  const types = createEventTypeService({
    db: pools.api,
    audit,
    async changed() {
      notifier.notify(EVENT_TYPES_CHANNEL)
      await eventTypes.refresh()
    },
  })
  return { eventTypes, types }
}

/** Runs without INACTIVITY_TIMEOUT_S too: a receiver may have a time of its own. */
function inactivityWatch({ config, pools, logger }: HubBase, statuses: StreamStatusService): Worker {
  const { inactivityTimeoutS = 0 } = config
  const everyMs = INACTIVITY_CHECK_MS
  return createInactivityWatch({ db: pools.api, statuses, inactivityTimeoutS, everyMs, logger })
}

function createIngestServices(
  base: HubBase,
  { eventLog, nextEventId }: ServiceParts,
  eventTypes: EventTypes,
) {
  const { config, issuer, pools, audit, clock, logger, metrics, outgoing, notifier } = base
  const db = pools.api
  const repository = createTransmitterRepository()
  const registry = createTransmitterRegistry({
    loadAll: () => repository.loadAll(pools.system),
    findOne: (id) => repository.find(db, id),
    clock,
    logger,
  })
  notifier.on(REGISTRY_CHANNEL, () => void registry.refresh())
  async function changed(): Promise<void> {
    await registry.refresh()
    notifier.notify(REGISTRY_CHANNEL)
  }
  const upstream = openUpstream(base, eventTypes)
  const issuerKeys = createIssuerKeys({ outgoing, clock, logger, metrics })
  const ingest = createSetIngest({
    clock,
    keys: issuerKeys,
    budgets: createSourceBudgets(clock),
    log: eventLog.log,
    eventTypes,
    nextEventId,
    aboutStream: upstream.aboutStream,
  })
  const observe = createSetObserver(base)
  const handleIngest = createIngestHandler({
    registry,
    ingest,
    observe,
    clock,
    logger,
    metrics,
    addressOf: createClientAddress(config.trustedProxies),
    issuerPath: issuerPath(issuer),
  })
  return {
    registry,
    issuerKeys,
    handleIngest,
    /** Not started yet; with leases of their own. */
    upstreamWorker: (leases: LeaseSet) =>
      upstream.createWorker({
        leases,
        ingest,
        observe,
        transmitters: { find: registry.find, pinAudience: repository.pinAudience, changed },
      }),
    transmitters: createTransmitterService({
      db,
      outgoing,
      audit,
      streams: upstream.streams,
      eventTypes,
      changed,
    }),
    events: createEventService({ db, audit, log: eventLog.transactional, nextEventId, issuer, eventTypes }),
  }
}
