import { createDelivery, type Delivery } from './delivery/delivery-service.js'
import type { RevocationMetrics } from './enforcement/revocation-metrics.js'
import type { HubBase } from './hub-base.js'
import { crashpoint } from './kernel/crashpoint.js'
import type { LeaseSet } from './storage/leases.js'
import { ensureDayPartition } from './storage/partitions.js'
import { createStreamMatcher } from './streams/stream-matching.js'
import { createStreamRepository } from './streams/stream-repository.js'

/** Gives delivery what it needs of the streams, the time-to-revoke metrics and the way out. */
export function openDelivery(
  base: HubBase,
  { shards, revocation }: { shards: LeaseSet; revocation: RevocationMetrics },
): Delivery {
  const { config, pools, keys, outgoing } = base
  const streams = createStreamRepository(pools.api)
  return createDelivery({
    ...base,
    leases: shards,
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
    ensureDay: (day) => ensureDayPartition(pools.api, day),
    touchStream: (streamId) => streams.touch([streamId]),
    onReceived: (type, tookMs) => revocation.resolved('received', type, tookMs),
    onVerified: (streamId) => streams.markVerified(streamId),
  })
}
