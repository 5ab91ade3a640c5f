import type { Clock } from '../kernel/clock.js'
import { dayOf } from '../kernel/clock.js'
import { createGroupCommit } from '../kernel/group-commit.js'
import { eventIdTimeMs } from '../kernel/ids.js'
import type { JtiCodec } from '../secevent/delivery-jti.js'
import type {
  AcknowledgedDelivery,
  Acknowledgement,
  AcknowledgementRepository,
  AcknowledgementStatus,
} from './acknowledgement-repository.js'
import type { RevocationMetrics } from './revocation-metrics.js'

/** What a point reports about one SET. */
export interface AcknowledgementEntry {
  jti: string
  streamId?: string
  status: AcknowledgementStatus
  replica?: string
  reason?: string
  streamsCut?: number
}

export type AcknowledgementResult = 'recorded' | 'repeat' | 'unknown'

export interface AcknowledgementService {
  /**
   * Records one point's report; answers one result per entry, in order. What the receiver did not get, another
   * receiver's jti included, is `unknown`. Without `streamId` an entry counts for all its streams that got the jti.
   */
  acknowledge(receiverId: string, entries: readonly AcknowledgementEntry[]): Promise<AcknowledgementResult[]>
}

const MAX_BATCH = 2_000

export function createAcknowledgementService(options: {
  repository: AcknowledgementRepository
  clock: Clock
  metrics: RevocationMetrics
  jtis: JtiCodec
}): AcknowledgementService {
  const { repository, clock, metrics, jtis } = options

  async function flush(batch: Acknowledgement[]): Promise<AcknowledgementResult[]> {
    const found = await repository.record(batch)
    const results = settle(batch.length, found)
    observe(batch, found, results)
    return results
  }

  function observe(
    batch: readonly Acknowledgement[],
    found: readonly AcknowledgedDelivery[],
    results: readonly AcknowledgementResult[],
  ): void {
    for (const delivery of found) {
      const entry = batch[delivery.index]
      if (delivery.inserted && entry?.status === 'applied' && results[delivery.index] === 'recorded') {
        metrics.resolved('applied', delivery.eventType, entry.reportedAtMs - delivery.acceptedAtMs)
      }
    }
  }

  const commits = createGroupCommit<Acknowledgement, AcknowledgementResult>({ maxBatch: MAX_BATCH, flush })

  return {
    async acknowledge(receiverId, entries) {
      const reportedAtMs = clock.now()
      const results = await Promise.all(
        entries.map(async (entry): Promise<AcknowledgementResult> => {
          const eventId = jtis.read(entry.jti, receiverId)
          if (!eventId) return 'unknown'
          const acceptedAtMs = eventIdTimeMs(eventId)
          const day = dayOf(acceptedAtMs)
          const { jti: _jti, replica = '', ...rest } = entry
          return commits.add({ ...rest, receiverId, eventId, day, acceptedAtMs, replica, reportedAtMs })
        }),
      )
      for (const result of ['recorded', 'repeat', 'unknown'] as const) {
        metrics.acknowledged(result, results.filter((each) => each === result).length)
      }
      return results
    },
  }
}

/**
 * Two entries of one batch may say the same of the same delivery: the first is recorded, the next is a repeat.
 * An entry that counts for several streams is recorded when it is new for any of them.
 */
function settle(length: number, found: readonly AcknowledgedDelivery[]): AcknowledgementResult[] {
  const results: AcknowledgementResult[] = new Array(length).fill('unknown')
  for (const delivery of found) {
    if (delivery.inserted) results[delivery.index] = 'recorded'
    else if (results[delivery.index] === 'unknown') results[delivery.index] = 'repeat'
  }
  return results
}
