import { SSF } from '../secevent/event-types.js'
import { type Database, sqlRows } from '../storage/database.js'
import type { SubjectKey } from './subject-index.js'

/** As much of an event as decides which streams take it. */
export interface MatchableEvent {
  readonly type: string
  readonly sourceId: string
  readonly targetStreamId?: string | undefined
  /** From `eventMatchHashes`; empty without a subject. */
  readonly subjectKeys: readonly SubjectKey[]
}

export interface MatchOptions {
  /** SSF 1.0 §9.3, seconds. */
  readonly subjectRemovalGraceS: number
  /** SSF 1.0 §8.1.3.1 to the letter: complex subjects without a common member match too. */
  readonly literalComplex?: boolean
}

export interface StreamMatch {
  /** Index in the array of events. */
  readonly idx: number
  readonly stream_id: string
  readonly receiver_id: string
  readonly shard: number
}

/**
 * Which streams take which events of a batch: a select of (idx, stream_id, receiver_id, shard), bound by
 * `matchBindings`. It may stand as a CTE in front of an insert.
 *
 * - Types delivered, the receiver's grants and state, and never back to the receiver that is the event's source.
 * - ALL: unless a removed subject covers the event's: every member of the removed one is in the event and identical.
 *   The looser rule of §8.1.3.1 would let the removal of one device hide the revocation of its whole user.
 * - NONE: when an added subject matches the event's by §8.1.3.1 (at least one member in common: issue 312).
 * - A disabled stream takes nothing, a paused one is held by the sender. Events for one stream (verification,
 *   stream-updated) ignore types and subjects: the stream's own subject is always in it (§8.1.4.1). The notice that
 *   the hub stopped a stream must still reach it (§8.1.5).
 *
 * `hit` is grouped once and joined by hash: as a correlated `exists` it was one scan of all hits per event and stream.
 */
export function matchStreamsSql(options: Pick<MatchOptions, 'literalComplex'> = {}): string {
  return `
    with e as materialized (
      select * from unnest(?::int[], ?::text[], ?::uuid[], ?::uuid[]) as e (idx, type, source_id, target)
    ), k as materialized (
      select * from unnest(?::int[], ?::text[], ?::bytea[]) as k (idx, member, hash)
    ), grace as (
      select now() - make_interval(secs => ?) as since
    ), candidate as (
      select k.idx, ss.stream_id, ss.complex_hash, ss.mode, ss.changed_at
      from k join stream_subjects ss on ss.match_hash = k.hash and ss.member = k.member
      ${options.literalComplex ? LITERAL_CANDIDATES : ''}
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
    select e.idx, s.stream_id, s.receiver_id, s.shard
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
    select e.idx, s.stream_id, s.receiver_id, s.shard
    from e
    join streams s on s.stream_id = e.target
    join receivers r on r.id = s.receiver_id
    where r.enabled and (s.status <> 'disabled' or ${noticeCondition('e.type', 's')})`
}

// Every complex subject of the streams is then a candidate, which costs a scan: a setting for strict readers only.
const LITERAL_CANDIDATES = `
      union
      select k.idx, ss.stream_id, ss.complex_hash, ss.mode, ss.changed_at
      from (select distinct idx from k where member <> '') k cross join stream_subjects ss
      where ss.complex_hash <> '' and ss.mode = 'added'`

/** Values for the `?` of `matchStreamsSql`, in order. */
export function matchBindings(events: readonly MatchableEvent[], options: MatchOptions): unknown[] {
  const keys = events.flatMap((event, idx) => event.subjectKeys.map((key) => ({ idx, ...key })))
  return [
    events.map((_, idx) => idx),
    events.map((event) => event.type),
    events.map((event) => event.sourceId),
    events.map((event) => event.targetStreamId ?? null),
    keys.map((key) => key.idx),
    keys.map((key) => key.member),
    keys.map((key) => key.hash),
    options.subjectRemovalGraceS,
  ]
}

/** One row per event and stream that takes it. */
export function matchStreams(
  db: Database,
  events: readonly MatchableEvent[],
  options: MatchOptions,
): Promise<StreamMatch[]> {
  return sqlRows<StreamMatch>(db, matchStreamsSql(options), matchBindings(events, options))
}

/**
 * SQL: may a SET of this type go out on this stream now? Only while it is enabled, except for the notice that the hub
 * or an operator stopped it, which goes out "before stopping" (SSF 1.0 §8.1.5): all else has stopped already.
 * To be asked again at claim and at poll.
 * @param type SQL expression of the event type, e.g. `q.type`
 * @param stream alias of `streams`
 */
export function maySendCondition(type: string, stream: string): string {
  return `(${stream}.status = 'enabled' or ${noticeCondition(type, stream)})`
}

function noticeCondition(type: string, stream: string): string {
  return `(${type} = '${SSF.streamUpdated}' and ${stream}.status_by <> 'receiver')`
}
