import type { BatchHandler, LogBatch, LogItem } from '../eventlog/event-log.js'
import { dayOf } from '../kernel/clock.js'
import { crashpoint } from '../kernel/crashpoint.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { type Lane, type SecurityEvent, SLOT_COUNT } from '../secevent/event.js'
import { type Database, inTransaction, type SqlPlace, type SqlTransaction } from '../storage/database.js'
import type { StreamMatcher } from '../streams/stream-matching.js'
import { conflictRepository } from './conflict-repository.js'
import { findSaidBefore, pairsToLookUp, withoutCopies } from './copies.js'
import type { FanOutCounters, FanOutTally } from './fan-out-counters.js'
import { fanOutRepository, type KnownFact, type PreparedEvent, type Seen } from './fan-out-repository.js'
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

/**
 * Fan-out: one transaction per batch drops repeats, stores the events, matches them to streams and queues one
 * delivery per match; then the log's position is committed. It never waits for an endpoint.
 */
export function createFanOut(options: FanOutOptions): BatchHandler {
  const { logger, counters } = options
  /** The last batch was mostly repeats: then whoever matches the events is asked when these are known. */
  let repeating = false

  async function process(batch: LogBatch, items: readonly LogItem[]): Promise<void> {
    if (items.length === 0) return
    crashpoint('fanout.read')
    try {
      await options.ensureDays(daysOf(items))
      const prepared = await Promise.all(
        items.flatMap(({ event }) => (event ? [options.prepare(event)] : [])),
      )
      const { queued, tally, notes } = await inTransaction(options.db, (trx) =>
        store(trx, batch, { items, prepared }),
      )
      crashpoint('fanout.committed')
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
    await inTransaction(options.db, async (trx) => {
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
    counters.add(batch.lane, { stored: 0, repeats: 0, quarantined: 0, rejected: 1, queued: 0, heldBack: 0 })
  }

  /**
   * Statements that stand in one `Promise.all` go to Postgres together, and are run there in this order: for a batch that says nothing
   * again all of it takes two turns.
   */
  async function store(trx: SqlTransaction, batch: LogBatch, { items, prepared }: PreparedItems) {
    // Counted and logged after the commit: a batch that is tried again would say everything twice.
    const notes: (() => void)[] = []
    const [seen, early] = await Promise.all([
      findSeen(trx, batch.lane, prepared),
      repeating ? undefined : findMatches(trx, prepared),
      batch.checkOrder(trx),
    ])
    const { fresh, conflicting } = dropRepeats(prepared, { seen, notes })
    repeating = fresh.length < prepared.length / 2
    const freshIds = new Set(fresh.map(({ event }) => event.eventId))
    const healthy = fresh.filter(({ event }) => event.quarantine === undefined)
    const matched = early
      ? early.filter(({ delivery }) => freshIds.has(delivery.eventId))
      : await findMatches(trx, healthy)
    const saidBefore = findSaidBefore(fresh, seen.facts)
    const queued =
      saidBefore.size > 0 ? await dropCopies(trx, matched, { fresh, known: seen.facts }) : matched
    const heldBack = idsOf(matched)
    for (const eventId of idsOf(queued)) heldBack.delete(eventId)
    const parkOddities = await findOddities(batch, { items, fresh, notes })
    const stored = Promise.all([
      conflictRepository.note(trx, batch.lane, conflicting),
      fanOutRepository.insertEvents(trx, fresh, saidBefore),
      fanOutRepository.nameSaidAgain(
        trx,
        healthy.filter(({ event }) => saidBefore.has(event.eventId) && !heldBack.has(event.eventId)),
      ),
      queueRepository.insert(
        trx,
        queued.map(({ delivery }) => delivery),
      ),
      parkOddities(trx),
      batch.close(trx, items),
    ])
    trx.commit()
    await stored
    const tally: FanOutTally = {
      stored: healthy.length,
      repeats: prepared.length - fresh.length,
      quarantined: fresh.length - healthy.length,
      rejected: items.length - prepared.length,
      queued: queued.length,
      heldBack: matched.length - queued.length,
    }
    return { queued, tally, notes }
  }

  /** No stream gets a fact twice, or hubs in a ring would send it round for ever. */
  async function dropCopies(
    trx: SqlPlace,
    matched: readonly QueuedDelivery[],
    facts: { fresh: readonly PreparedEvent[]; known: readonly KnownFact[] },
  ): Promise<QueuedDelivery[]> {
    const pairs = pairsToLookUp(matched, facts.fresh, facts.known)
    const delivered = await queueRepository.findDelivered(trx, pairs)
    const inHubOrder = [...matched].sort((a, b) => (a.delivery.eventId < b.delivery.eventId ? -1 : 1))
    return withoutCopies(inHubOrder, facts, delivered)
  }

  /** Takes the slots of the batch, and asks which of its SETs and facts are known. */
  async function findSeen(trx: SqlPlace, lane: Lane, prepared: readonly PreparedEvent[]): Promise<Seen> {
    if (prepared.length === 0) return { keys: [], facts: [] }
    const slots = [...new Set(prepared.map(({ event }) => event.slot % SLOT_COUNT))].sort((a, b) => a - b)
    const newest = Math.max(...prepared.map(({ event }) => event.acceptedAtMs))
    return fanOutRepository.lockAndFindKnown(trx, {
      lane,
      slots,
      keyHashes: prepared.map(({ keyHash }) => keyHash),
      factHashes: distinct(prepared.flatMap(({ fact }) => (fact ? [fact.hash] : []))),
      oldestDay: dayOf(newest - options.dedupeWindowDays * DAY_MS),
    })
  }

  function dropRepeats(
    prepared: readonly PreparedEvent[],
    { seen, notes }: { seen: Seen; notes: (() => void)[] },
  ): { fresh: PreparedEvent[]; conflicting: string[] } {
    const known = new Map<string, { contentHash: string; eventId: string }>(
      seen.keys.map((row) => [row.keyHash, row]),
    )
    const conflicting: string[] = []
    const fresh = prepared.filter(({ event, keyHash, contentHash }) => {
      const key = keyHash.toString('base64')
      const content = contentHash.toString('base64')
      const earlier = known.get(key)
      if (!earlier) {
        known.set(key, { contentHash: content, eventId: event.eventId })
        return true
      }
      if (earlier.contentHash !== content) {
        // The issuer used one jti for two different SETs: a fault of theirs, or somebody holds their key.
        conflicting.push(event.sourceId)
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
    return { fresh, conflicting }
  }

  async function findMatches(trx: SqlPlace, events: readonly PreparedEvent[]): Promise<QueuedDelivery[]> {
    const healthy = events.filter(({ event }) => event.quarantine === undefined)
    const byId = new Map(healthy.map((prepared) => [prepared.event.eventId, prepared]))
    if (byId.size === 0) return []
    return (await options.match(trx, [...byId.values()])).flatMap((match): QueuedDelivery[] => {
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

  /** Answers how to park what is no event, and what is one but is not sent on. */
  async function findOddities(
    { lane, from }: LogBatch,
    found: { items: readonly LogItem[]; fresh: readonly PreparedEvent[]; notes: (() => void)[] },
  ): Promise<(trx: SqlPlace) => Promise<unknown>> {
    const rejected = found.items.flatMap(({ rejected: one }) => (one ? [one] : []))
    const quarantined = found.fresh.filter(({ event }) => event.quarantine !== undefined)
    const sealed = await Promise.all(
      rejected.map(async ({ reason, record }) => ({
        code: 'untrusted_record',
        reason,
        lane,
        record: await options.sealRecord(record),
      })),
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
    return (trx) =>
      Promise.all([
        parkedRepository.parkRecords(trx, sealed),
        parkedRepository.parkEvents(
          trx,
          quarantined.map(({ event }) => event),
        ),
      ])
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

const idsOf = (queued: readonly QueuedDelivery[]) => new Set(queued.map(({ delivery }) => delivery.eventId))

const distinct = (hashes: readonly Buffer[]) => [
  ...new Map(hashes.map((hash) => [hash.toString('base64'), hash])).values(),
]
