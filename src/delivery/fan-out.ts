import type { BatchHandler, LogBatch, LogItem } from '../eventlog/event-log.js'
import { dayOf } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { CounterMetric, Metrics } from '../kernel/metrics.js'
import { type Lane, type SecurityEvent, SLOT_COUNT } from '../secevent/event.js'
import type { Database, Transaction } from '../storage/database.js'
import type { StreamMatcher } from '../streams/stream-matching.js'
import { fanOutRepository, type PreparedEvent } from './fan-out-repository.js'
import { type EventContent, EXPECTS, renderingFor } from './open-delivery.js'
import { parkedRepository } from './parked-repository.js'
import { type NewDelivery, queueRepository } from './queue-repository.js'
import { isTransient } from './storage-errors.js'

export interface QueuedDelivery {
  readonly delivery: NewDelivery
  readonly method: 'push' | 'poll'
  /** Of the stream when it was matched. */
  readonly version: number
  readonly content: EventContent
  /** Of the sealed content. */
  readonly bytes: number
}

export interface FanOutOptions {
  readonly db: Database
  readonly logger: Logger
  readonly counters: FanOutCounters
  /** Days in which a repeat is recognised. */
  readonly dedupeWindowDays: number
  /** Hashes and seals what is stored of an event. */
  prepare(event: SecurityEvent): Promise<PreparedEvent>
  /** Makes the day partitions that these events need, if upkeep has not. */
  ensureDays(days: readonly string[]): Promise<void>
  /** Finds the streams that take each event: by type, subject, grants and status, in SQL. */
  readonly match: StreamMatcher
  /** Under the key of the day, so that erasing the day erases it. */
  sealRecord(record: Buffer): Promise<Buffer>
  /** After the commit: rows go to the sender in memory, or their owner is woken. */
  handOver(queued: readonly QueuedDelivery[]): void
}

const DAY_MS = 86_400_000

interface PreparedItems {
  readonly items: readonly LogItem[]
  /** Those of them that are events. */
  readonly prepared: readonly PreparedEvent[]
}

interface Tally {
  stored: number
  repeats: number
  quarantined: number
  rejected: number
  queued: number
}

/**
 * Fan-out: one transaction per batch drops repeats, stores the events, matches them to streams and queues one
 * delivery per match; then the log's position is committed. It never waits for an endpoint.
 */
export function createFanOut(options: FanOutOptions): BatchHandler {
  const { logger, counters } = options

  async function process(batch: LogBatch, items: readonly LogItem[]): Promise<void> {
    if (items.length === 0) return
    try {
      await options.ensureDays(daysOf(items))
      const prepared = await Promise.all(
        items.flatMap(({ event }) => (event ? [options.prepare(event)] : [])),
      )
      const { queued, tally, notes } = await options.db.transaction((trx) =>
        store(trx, batch, { items, prepared }),
      )
      options.handOver(queued)
      for (const note of notes) note()
      counters.add(batch.lane, tally)
      logger.debug('batch.fanned_out', {
        lane: batch.lane,
        from: batch.from,
        records: items.length,
        ...tally,
      })
    } catch (error) {
      if (isTransient(error)) throw error
      await isolate(batch, items, error)
    }
  }

  /** A bad record never stops a batch: halve it until the offender is alone, then park that one. */
  async function isolate(batch: LogBatch, items: readonly LogItem[], error: unknown): Promise<void> {
    if (items.length > 1) {
      const middle = items.length >> 1
      await process(batch, items.slice(0, middle))
      await process(batch, items.slice(middle))
      return
    }
    const event = items[0]?.event
    logger.error('record.parked', {
      lane: batch.lane,
      event_id: event?.eventId,
      reason: describeError(error),
    })
    const record = await options.sealRecord(Buffer.from(JSON.stringify(event ?? null)))
    await options.db.transaction(async (trx) => {
      await parkedRepository.parkRecords(trx, [
        {
          code: 'unstorable',
          reason: 'The database cannot store this event.',
          lane: batch.lane,
          // Its type and txn may be the very text that cannot be stored; they are in the sealed record.
          ...(event ? { eventId: event.eventId } : {}),
          record,
        },
      ])
      await batch.close(trx, items)
    })
    counters.add(batch.lane, { stored: 0, repeats: 0, quarantined: 0, rejected: 1, queued: 0 })
  }

  /** Statements that stand in one `Promise.all` go to Postgres together, and are run there in this order. */
  async function store(trx: Transaction, batch: LogBatch, { items, prepared }: PreparedItems) {
    // Counted and logged after the commit: a batch that is tried again would say everything twice.
    const notes: (() => void)[] = []
    const fresh = await dropRepeats(trx, batch.lane, { prepared, notes })
    const healthy = fresh.filter(({ event }) => event.quarantine === undefined)
    const [, queued] = await Promise.all([
      fresh.length > 0 && fanOutRepository.insertEvents(trx, fresh),
      findMatches(trx, healthy),
    ])
    await Promise.all([
      queueRepository.insert(
        trx,
        queued.map(({ delivery }) => delivery),
      ),
      parkOddities(trx, batch, { items, fresh, notes }),
      batch.close(trx, items),
    ])
    const tally: Tally = {
      stored: healthy.length,
      repeats: prepared.length - fresh.length,
      quarantined: fresh.length - healthy.length,
      rejected: items.length - prepared.length,
      queued: queued.length,
    }
    return { queued, tally, notes }
  }

  async function dropRepeats(
    trx: Transaction,
    lane: Lane,
    { prepared, notes }: { prepared: readonly PreparedEvent[]; notes: (() => void)[] },
  ): Promise<PreparedEvent[]> {
    if (prepared.length === 0) return []
    const slots = [...new Set(prepared.map(({ event }) => event.slot % SLOT_COUNT))].sort((a, b) => a - b)
    const newest = Math.max(...prepared.map(({ event }) => event.acceptedAtMs))
    const oldestDay = dayOf(newest - options.dedupeWindowDays * DAY_MS)
    const known = new Map<string, { contentHash: string; eventId: string }>()
    const keyHashes = prepared.map(({ keyHash }) => keyHash)
    const rows = await fanOutRepository.lockAndFindKnown(trx, { lane, slots, keyHashes, oldestDay })
    for (const row of rows) known.set(row.keyHash, row)
    return prepared.filter(({ event, keyHash, contentHash }) => {
      const key = keyHash.toString('base64')
      const content = contentHash.toString('base64')
      const earlier = known.get(key)
      if (!earlier) {
        known.set(key, { contentHash: content, eventId: event.eventId })
        return true
      }
      if (earlier.contentHash !== content) {
        // The issuer used one jti for two different SETs: a fault of theirs, or somebody holds their key.
        notes.push(() => {
          counters.conflicts.add()
          logger.warn('set.conflicting_repeat', {
            source_id: event.sourceId,
            jti: event.sourceJti,
            event_id: event.eventId,
            first_event_id: earlier.eventId,
          })
        })
      }
      return false
    })
  }

  async function findMatches(trx: Transaction, events: readonly PreparedEvent[]): Promise<QueuedDelivery[]> {
    if (events.length === 0) return []
    const byId = new Map(events.map((prepared) => [prepared.event.eventId, prepared]))
    return (await options.match(trx, events)).flatMap((match): QueuedDelivery[] => {
      const prepared = byId.get(match.eventId)
      if (!prepared?.event.subject) return []
      const { event, day } = prepared
      const delivery: NewDelivery = {
        streamId: match.streamId,
        eventId: event.eventId,
        receiverId: match.receiverId,
        shard: match.shard,
        lane: event.lane,
        type: event.type,
        effect: event.effect,
        txn: event.txn,
        orderKey: prepared.orderHash?.toString('base64') ?? '',
        acceptedAtMs: event.acceptedAtMs,
        rendering: renderingFor(match.profile),
        day,
        sourceId: event.sourceId,
        eventTimestampMs: prepared.eventTimestampMs,
        expects: expectedStages(event, match.reports),
      }
      return [
        {
          delivery,
          method: match.method,
          version: match.version,
          content: { subject: prepared.event.subject, claims: event.claims },
          bytes: prepared.sealedContent.length,
        },
      ]
    })
  }

  async function parkOddities(
    trx: Transaction,
    { lane, from }: LogBatch,
    found: { items: readonly LogItem[]; fresh: readonly PreparedEvent[]; notes: (() => void)[] },
  ): Promise<void> {
    const rejected = found.items.flatMap(({ rejected: one }) => (one ? [one] : []))
    const quarantined = found.fresh.filter(({ event }) => event.quarantine !== undefined)
    const sealed = rejected.map(async ({ reason, record }) => ({
      code: 'untrusted_record',
      reason,
      lane,
      record: await options.sealRecord(record),
    }))
    await parkedRepository.parkRecords(trx, await Promise.all(sealed))
    await parkedRepository.parkEvents(
      trx,
      quarantined.map(({ event }) => event),
    )
    found.notes.push(() => {
      for (const { reason } of rejected) logger.error('record.rejected', { lane, from, reason })
      for (const { event } of quarantined) {
        logger.warn('set.quarantined', {
          source_id: event.sourceId,
          event_id: event.eventId,
          reason: event.quarantine,
        })
      }
    })
  }

  return (batch) => process(batch, batch.items)
}

function daysOf(items: readonly LogItem[]): string[] {
  return [...new Set(items.flatMap(({ event }) => (event ? [dayOf(event.acceptedAtMs)] : [])))]
}

/** Only what the point declared it reports is expected of it; the hub's own stream messages are not measured. */
function expectedStages(event: SecurityEvent, reports: readonly string[]): number {
  if (event.targetStreamId) return 0
  return EXPECTS.received | (reports.includes('applied') ? EXPECTS.applied : 0)
}

export interface FanOutCounters {
  readonly conflicts: CounterMetric
  add(lane: string, tally: Tally): void
}

/** One set for all lanes. */
export function fanOutCounters(metrics: Metrics): FanOutCounters {
  const events = metrics.counter(
    'firebreak_events_total',
    'Log records that fan-out settled, by what became of them.',
    ['lane', 'result'],
  )
  const queued = metrics.counter('firebreak_deliveries_queued_total', 'Deliveries queued by fan-out.', [
    'lane',
  ])
  const conflicts = metrics.counter(
    'firebreak_conflicting_repeats_total',
    'SETs that reused a jti with other content.',
  )
  return {
    conflicts,
    add(lane, tally) {
      for (const result of ['stored', 'repeats', 'quarantined', 'rejected'] as const) {
        if (tally[result] > 0) events.add({ lane, result }, tally[result])
      }
      if (tally.queued > 0) queued.add({ lane }, tally.queued)
    },
  }
}
