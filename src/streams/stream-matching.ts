import type { SecurityEvent } from '../secevent/event.js'
import { SSF } from '../secevent/event-types.js'
import { type Database, sqlRows } from '../storage/database.js'
import type { DeliveryMethod } from './stream.js'
import { eventMatchHashes, type SubjectHmac } from './subject-index.js'

/** As much of an event as decides which streams take it. */
export type MatchableEvent = Pick<
  SecurityEvent,
  'eventId' | 'type' | 'sourceId' | 'subject' | 'targetStreamId'
>

/** One stream that takes one event. */
export interface StreamMatch {
  readonly eventId: string
  readonly streamId: string
  readonly receiverId: string
  readonly shard: number
  /** Of the stream, as the statement saw it: whoever sends by another one must read it again. */
  readonly version: number
  readonly method: DeliveryMethod
  /** Stages that the receiver has declared it reports besides `received`. */
  readonly reports: readonly string[]
}

export interface StreamMatcherOptions {
  hmac: SubjectHmac
  /** SSF 1.0 §9.3, seconds. */
  subjectRemovalGraceS: number
}

/** Finds the streams that take each event of a batch, in one statement. Takes fan-out's transaction. */
export type StreamMatcher = (
  db: Database,
  events: readonly { readonly event: MatchableEvent }[],
) => Promise<StreamMatch[]>

interface MatchRow {
  idx: number
  stream_id: string
  receiver_id: string
  shard: number
  version: number
  delivery_method: DeliveryMethod
  reports: string[]
}

export function createStreamMatcher(options: StreamMatcherOptions): StreamMatcher {
  return async (db, events) => {
    const keys = events.flatMap(({ event }, idx) =>
      event.subject ? eventMatchHashes(event.subject, options.hmac).map((key) => ({ idx, ...key })) : [],
    )
    const rows = await sqlRows<MatchRow>(db, MATCH, [
      events.map((_, idx) => idx),
      events.map(({ event }) => event.type),
      events.map(({ event }) => event.sourceId),
      events.map(({ event }) => event.targetStreamId ?? null),
      keys.map((key) => key.idx),
      keys.map((key) => key.member),
      keys.map((key) => key.hash),
      options.subjectRemovalGraceS,
    ])
    return rows.map((row) => ({
      eventId: (events[row.idx] as { event: MatchableEvent }).event.eventId,
      streamId: row.stream_id,
      receiverId: row.receiver_id,
      shard: row.shard,
      version: row.version,
      method: row.delivery_method,
      reports: row.reports,
    }))
  }
}

const COLUMNS = 'e.idx, s.stream_id, s.receiver_id, s.shard, s.version, s.delivery_method, r.reports'

/**
 * - Types delivered, the receiver's grants and state, and never back to the receiver that is the event's source.
 * - ALL: unless a removed subject covers the event's: every member of the removed one is in the event and identical.
 *   The looser rule of §8.1.3.1 would let the removal of one device hide the revocation of its whole user.
 * - NONE: when an added subject matches the event's by §8.1.3.1 (with at least one member in common: issue 312).
 * - A disabled stream takes nothing, a paused one is held by the sender. Events for one stream (verification,
 *   stream-updated) ignore types and subjects: the stream's own subject is always in it (§8.1.4.1). The notice that
 *   the hub itself stopped a stream must still reach it (§8.1.5).
 *
 * `hit` is grouped once and joined by hash: a correlated `exists` would scan all hits per event and stream.
 */
const MATCH = `
  with e as materialized (
    select * from unnest(?::int[], ?::text[], ?::uuid[], ?::uuid[]) as e (idx, type, source_id, target)
  ), k as materialized (
    select * from unnest(?::int[], ?::text[], ?::bytea[]) as k (idx, member, hash)
  ), grace as (
    select now() - make_interval(secs => ?) as since
  ), candidate as (
    select k.idx, ss.stream_id, ss.complex_hash, ss.mode, ss.changed_at
    from k join stream_subjects ss on ss.match_hash = k.hash and ss.member = k.member
  ), hit as materialized (
    select c.idx, c.stream_id,
      bool_or((c.mode = 'added' or c.changed_at > grace.since) and not exists (
        select 1 from stream_subjects other join k on k.idx = c.idx and k.member = other.member
        where other.stream_id = c.stream_id and other.complex_hash = c.complex_hash and c.complex_hash <> ''
          and other.match_hash <> k.hash
      )) as added,
      bool_or(c.mode = 'removed' and c.changed_at <= grace.since and not exists (
        select 1 from stream_subjects other
        where other.stream_id = c.stream_id and other.complex_hash = c.complex_hash and c.complex_hash <> ''
          and not exists (select 1 from k where k.idx = c.idx and k.hash = other.match_hash)
      )) as removed
    from candidate c cross join grace
    group by c.idx, c.stream_id
  )
  select ${COLUMNS}
  from e
  join stream_event_types t on t.event_type = e.type
  join streams s on s.stream_id = t.stream_id
  join receivers r on r.id = s.receiver_id
  left join hit on hit.idx = e.idx and hit.stream_id = s.stream_id
  where e.target is null and s.status <> 'disabled' and r.enabled
    and (r.grant_event_types is null or e.type = any (r.grant_event_types))
    and (r.grant_sources is null or e.source_id = any (r.grant_sources))
    and not exists (select 1 from transmitters tr where tr.id = e.source_id and tr.receiver_id = r.id)
    and case r.default_subjects when 'ALL' then not coalesce(hit.removed, false) else coalesce(hit.added, false) end
  union all
  select ${COLUMNS}
  from e
  join streams s on s.stream_id = e.target
  join receivers r on r.id = s.receiver_id
  where r.enabled
    and (s.status <> 'disabled' or (e.type = '${SSF.streamUpdated}' and s.status_by <> 'receiver'))`
