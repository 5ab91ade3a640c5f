import { createDelivery, type Delivery } from './delivery/delivery-service.js'
import type { RevocationMetrics } from './enforcement/revocation-metrics.js'
import type { HubBase } from './hub-base.js'
import type { HubEventLog } from './hub-event-log.js'
import { crashpoint } from './kernel/crashpoint.js'
import type { LeaseSet } from './storage/leases.js'
import { ensureDayPartition } from './storage/partitions.js'
import { createFrameworkEvents, type FrameworkEvents } from './streams/framework-events.js'
import { createStreamMatcher } from './streams/stream-matching.js'
import { createStreamRepository } from './streams/stream-repository.js'
import { createStreamStatusService, type StreamStatusService } from './streams/stream-status-service.js'

export interface DeliveryParts {
  readonly shards: LeaseSet
  readonly revocation: RevocationMetrics
  readonly eventLog: Pick<HubEventLog, 'transactional'>
  readonly nextEventId: () => string
}

/** Delivery tells of endpoints, and is told of the status that follows: neither can be made without the other. */
export interface HubDelivery {
  readonly delivery: Delivery
  readonly statuses: StreamStatusService
  readonly events: FrameworkEvents
}

const HOUR_MS = 3_600_000

/** Gives delivery what it needs of the streams, the time-to-revoke metrics and the way out. */
export function openDelivery(base: HubBase, parts: DeliveryParts): HubDelivery {
  const { config, pools, keys, outgoing } = base
  const streams = createStreamRepository(pools.api)
  const delivery: Delivery = createDelivery({
    ...base,
    leases: parts.shards,
    hints: base.notifier,
    match: createStreamMatcher({
      hmac: (text) => keys.hmac('subject', text),
      subjectRemovalGraceS: config.subjectRemovalGraceS,
      literalComplex: config.literalComplexSubjects,
    }),
    async post(request) {
      crashpoint('push.sending')
      const answer = await outgoing.request(request)
      crashpoint('push.answered')
      return answer
    },
    attemptTimeoutMs: config.pushTimeoutMs,
    concurrency: config.pushConcurrency,
    holdMs: config.pollHoldMs,
    dedupeWindowDays: config.dedupeWindowDays,
    ensureDay: (day) => ensureDayPartition(pools.system, day),
    touchStream: (streamId) => streams.touch([streamId]),
    onReceived: (type, tookMs) => parts.revocation.resolved('received', type, tookMs),
    onVerified: (streamId) => streams.markVerified(streamId),
    failing: {
      pauseAfterMs: config.pauseFailingAfterH * HOUR_MS,
      async pause(streamId, version, reason) {
        await statuses.setStatusByHub(streamId, 'paused', reason, { cause: 'failing', version })
      },
      enable: (streamId) => statuses.enableFailing(streamId),
      revive: (failed) => statuses.reviveFailing(failed),
    },
  })
  const events = createFrameworkEvents({
    issuer: base.issuer,
    log: parts.eventLog.transactional,
    nextEventId: parts.nextEventId,
  })
  const statuses = createStreamStatusService({
    db: pools.api,
    events,
    observer: delivery,
    openWork: delivery,
    audit: base.audit,
    settings: config.inactivityTimeoutS ? { inactivityTimeoutS: config.inactivityTimeoutS } : {},
  })
  return { delivery, statuses, events }
}
