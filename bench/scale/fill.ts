import { createHmac, randomUUID } from 'node:crypto'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { shardOf } from '../../src/streams/stream.js'
import { type SubjectHmac, subjectIndexRows, textArrayLiteral } from '../../src/streams/subject-index.js'
import { TYPES } from './world.js'

/** What the fill has made so far. */
export interface Filled {
  streams: number
  subjects: number
  open: number
  /** Push streams without a filter: what an event of type `all` must reach. */
  plainPush: number
  /** Streams with a filter, of either method. */
  readonly filtered: string[]
}

/** Streams that a measurement needs at every size, made before any other. */
export interface Probes {
  readonly takeoverStreams: readonly string[]
  /** Receiver of the stream with the filter that the hub's API fills, and that stream. */
  readonly filter: { readonly receiverId: string; readonly streamId: string }
  readonly poll: { readonly receiverId: string; readonly streamId: string }
  /** Subjects of the filter as the benchmark itself looks them up, without the hub's key. */
  readonly hmac: SubjectHmac
}

const STREAMS_PER_RECEIVER = 10
/** Every fifth receiver has filters. */
const FILTER_EVERY = 5
const TAKEOVER_STREAMS = 32
/** Open deliveries of one stream that takes nothing. */
const OPEN_PER_STREAM = 5_000
/** Subjects of one filter share so many tenants. */
const TENANTS = 1_000
const CHUNK = 50_000

export const SIMPLE_SUBJECT = { format: 'email', email: 'probe@scale.example' } as const
export const COMPLEX_SUBJECT = {
  format: 'complex',
  user: { format: 'email', email: 'complex-probe@scale.example' },
  tenant: { format: 'opaque', id: 'tenant-probe' },
} as const

interface NewStream {
  readonly id: string
  readonly receiverId: string
  readonly type: string
  /** Undefined: polled. */
  readonly endpoint?: string
  readonly status?: 'enabled' | 'paused'
}

async function insertReceivers(db: Database, rows: readonly { id: string; filters: boolean }[]) {
  await sqlRows(
    db,
    `insert into receivers (id, name, client_id, audience, default_subjects)
     select id, 'receiver ' || id, 'client ' || id, 'https://receiver.example/' || id, case when f then 'NONE' else 'ALL' end
     from unnest(?::uuid[], ?::boolean[]) as t (id, f)`,
    [rows.map(({ id }) => id), rows.map(({ filters }) => filters)],
  )
}

async function insertStreams(db: Database, rows: readonly NewStream[]): Promise<void> {
  await sqlRows(
    db,
    `with t as materialized (
       select * from unnest(?::uuid[], ?::uuid[], ?::smallint[], ?::text[], ?::text[], ?::text[])
         as t (id, receiver_id, shard, type, endpoint, status)
     ), types as (
       insert into stream_event_types (event_type, stream_id) select type, id from t
     )
     insert into streams (stream_id, receiver_id, shard, status, delivery_method, endpoint_url, events_requested, events_delivered)
     select id, receiver_id, shard, status, case when endpoint is null then 'poll' else 'push' end, endpoint,
       array[type], array[type] from t`,
    [
      rows.map(({ id }) => id),
      rows.map(({ receiverId }) => receiverId),
      rows.map(({ id }) => shardOf(id)),
      rows.map(({ type }) => type),
      rows.map(({ endpoint }) => endpoint ?? null),
      rows.map(({ status }) => status ?? 'enabled'),
    ],
  )
}

export async function fillProbes(db: Database, endpointsUrl: string): Promise<Probes> {
  const [plain, filter, poll] = [randomUUID(), randomUUID(), randomUUID()]
  await insertReceivers(db, [
    { id: plain, filters: false },
    { id: filter, filters: true },
    { id: poll, filters: false },
  ])
  const takeoverStreams = Array.from({ length: TAKEOVER_STREAMS }, () => randomUUID())
  const [filterStream, pollStream] = [randomUUID(), randomUUID()]
  await insertStreams(db, [
    { id: randomUUID(), receiverId: plain, type: TYPES.one, endpoint: `${endpointsUrl}/ok/one` },
    { id: filterStream, receiverId: filter, type: TYPES.filtered, endpoint: `${endpointsUrl}/ok/filter` },
    { id: pollStream, receiverId: poll, type: TYPES.backlog },
    ...takeoverStreams.map((id) => ({
      id,
      receiverId: plain,
      type: TYPES.takeover,
      endpoint: `${endpointsUrl}/ok/takeover-${id}`,
    })),
  ])
  const hmac: SubjectHmac = (text) => createHmac('sha256', 'scale').update(text).digest()
  for (const subject of [SIMPLE_SUBJECT, COMPLEX_SUBJECT]) {
    const { complexHash, rows, combined } = subjectIndexRows(subject, hmac)
    await sqlRows(
      db,
      `insert into stream_subjects (stream_id, match_hash, mode, subject_wrapped, complex_hash, member)
       select ?::uuid, hash, 'added', 'sealed', ?::bytea, member from unnest(?::bytea[], ?::text[]) as t (hash, member)`,
      [filterStream, complexHash, rows.map(({ hash }) => hash), rows.map(({ member }) => member)],
    )
    await sqlRows(
      db,
      `insert into complex_subject_keys (match_hash, stream_id, rest, added, removed)
       select hash, ?::uuid, rest::text[], 1, 0 from unnest(?::bytea[], ?::text[]) as t (hash, rest)`,
      [filterStream, combined.map(({ hash }) => hash), combined.map(({ rest }) => textArrayLiteral(rest))],
    )
  }
  return {
    takeoverStreams,
    filter: { receiverId: filter, streamId: filterStream },
    poll: { receiverId: poll, streamId: pollStream },
    hmac,
  }
}

/** Every second stream is polled; every fifth receiver's take only what their filters name. */
export async function fillStreams(
  db: Database,
  filled: Filled,
  { count, endpointsUrl }: { count: number; endpointsUrl: string },
): Promise<void> {
  const first = filled.streams
  const perReceiver = count < 100 ? 1 : STREAMS_PER_RECEIVER
  const receivers = Array.from({ length: Math.ceil((count - first) / perReceiver) }, (_, index) => ({
    id: randomUUID(),
    filters: index % FILTER_EVERY === FILTER_EVERY - 1,
  }))
  await insertReceivers(db, receivers)
  const rows: NewStream[] = []
  for (let number = first; number < count; number += 1) {
    const index = number - first
    const receiver = receivers[index % receivers.length] as (typeof receivers)[number]
    const isPush = Math.floor(index / receivers.length + index) % 2 === 0
    const id = randomUUID()
    rows.push({
      id,
      receiverId: receiver.id,
      type: receiver.filters ? TYPES.filtered : TYPES.all,
      ...(isPush && { endpoint: `${endpointsUrl}/ok/${number}` }),
    })
    if (receiver.filters) filled.filtered.push(id)
    else if (isPush) filled.plainPush += 1
  }
  await insertStreams(db, rows)
  filled.streams = count
}

/** A quarter is complex: a user of a tenant, found by either or both. */
export async function fillSubjects(
  db: Database,
  filled: Filled,
  { count, say }: { count: number; say(text: string): void },
): Promise<void> {
  for (let first = filled.subjects; first < count; first += CHUNK) {
    const last = Math.min(first + CHUNK, count) - 1
    // A subject's number says which filter has it, and, for a complex one, which tenant.
    const numbers = `(select i, (?::uuid[])[1 + i % ?] as stream_id from generate_series(?::int, ?::int) i) n`
    const range = [filled.filtered, filled.filtered.length, first, last]
    await sqlRows(
      db,
      `insert into stream_subjects (stream_id, match_hash, mode, subject_wrapped, complex_hash, member)
       select n.stream_id, case when i % 4 < 3 then sha256(('simple ' || i)::bytea)
           when m = 'user' then sha256(('user ' || i)::bytea) else sha256(('tenant ' || i::bigint * 7919 % ${TENANTS})::bytea) end,
         'added', decode(repeat('5e', 90), 'hex'),
         case when i % 4 < 3 then '' else sha256(('whole ' || i)::bytea) end, m
       from ${numbers} cross join lateral unnest(case when i % 4 < 3 then array[''] else array['user', 'tenant'] end) m`,
      range,
    )
    await sqlRows(
      db,
      `with n as (
         select stream_id, sha256(('user ' || i)::bytea) as a, sha256(('tenant ' || i::bigint * 7919 % ${TENANTS})::bytea) as b
         from ${numbers} where i % 4 = 3
       ), keys as (
         select stream_id, sha256(a) as hash, '{tenant}'::text[] as rest, 1 as added from n
         union all select stream_id, sha256(least(a, b) || greatest(a, b)), '{}', 1 from n
         union all select stream_id, sha256(b), '{user}', count(*)::int from n group by stream_id, b
       )
       insert into complex_subject_keys (match_hash, stream_id, rest, added, removed)
       select hash, stream_id, rest, added, 0 from keys
       on conflict (match_hash, stream_id, rest) do update set added = complex_subject_keys.added + excluded.added`,
      range,
    )
    say(`${last + 1} subjects`)
  }
  filled.subjects = count
}

/** Open deliveries of streams that are paused, fail, or are polled, in turn; copies of one event that the hub stored. */
export async function fillOpen(
  db: Database,
  filled: Filled,
  {
    count,
    pollStream,
    endpointsUrl,
    say,
  }: {
    count: number
    pollStream: string
    endpointsUrl: string
    say(text: string): void
  },
): Promise<void> {
  const streams = Math.max(3, Math.ceil(count / OPEN_PER_STREAM))
  const perStream = Math.ceil(count / streams)
  const receiverId = randomUUID()
  await insertReceivers(db, [{ id: receiverId, filters: false }])
  const rows = Array.from({ length: streams - 1 }, (_, index): NewStream => {
    const base = { id: randomUUID(), receiverId, type: TYPES.backlog }
    if (index % 3 === 0) return { ...base, endpoint: `${endpointsUrl}/ok/paused-${index}`, status: 'paused' }
    if (index % 3 === 1) return { ...base, endpoint: `${endpointsUrl}/fail/${index}` }
    return base
  })
  await insertStreams(db, rows)
  const eventIds = await fillEvents(db, perStream)
  const ids = [pollStream, ...rows.map(({ id }) => id)]
  const perChunk = Math.max(1, Math.floor(CHUNK / perStream))
  for (let first = 0; first < ids.length; first += perChunk) {
    await queueEvents(db, ids.slice(first, first + perChunk), eventIds)
    say(`${Math.min(ids.length, first + perChunk) * perStream} open deliveries`)
  }
  filled.open = ids.length * perStream
}

/** Of a polled stream, so that there is something to poll. @returns how many */
export async function fillPoll(db: Database, streamId: string, count: number): Promise<number> {
  await queueEvents(db, [streamId], await fillEvents(db, count))
  return count
}

/** Accepted one after another until now, with the content of an event that the hub itself stored and sealed. */
async function fillEvents(db: Database, count: number): Promise<string[]> {
  const endMs = Date.now()
  let atMs = endMs - count
  const nextId = createEventIds({ ...createClock(), now: () => atMs })
  const ids = Array.from({ length: count }, () => {
    atMs += 1
    return nextId()
  })
  await sqlRows(
    db,
    `insert into events (event_id, day, accepted_at, lane, effect, type, txn, source_id, source_issuer, source_jti,
       event_timestamp, order_hash, content)
     select id, t.day, to_timestamp(?::float8 / 1000) + n * interval '1 ms', 2, 'neutral', ?, 'fill ' || id, t.source_id,
       t.source_issuer, id::text, t.event_timestamp, sha256(('person ' || n % 1000)::bytea), t.content
     from unnest(?::uuid[]) with ordinality as e (id, n), (select * from events where content is not null limit 1) t`,
    [endMs - count, TYPES.backlog, ids],
  )
  return ids
}

async function queueEvents(db: Database, streamIds: readonly string[], eventIds: readonly string[]) {
  await sqlRows(
    db,
    `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, order_hash,
       accepted_at, event_timestamp, expects, queued_at, next_attempt_at)
     select s.stream_id, e.lane, e.event_id, e.day, s.receiver_id, s.shard, e.type, e.effect, e.txn, e.source_id, e.order_hash,
       e.accepted_at, e.event_timestamp, 1, e.accepted_at, e.accepted_at
     from streams s, events e where s.stream_id = any(?::uuid[]) and e.event_id = any(?::uuid[])`,
    [streamIds, eventIds],
  )
}

/** What autovacuum does within a minute, done before anything is measured. */
export async function settleDatabase(db: Database): Promise<void> {
  for (const table of [
    'streams',
    'stream_event_types',
    'receivers',
    'stream_subjects',
    'complex_subject_keys',
  ])
    await db.raw('vacuum analyze ??', [table])
  for (const table of ['delivery_queue', 'events']) await db.raw('vacuum analyze ??', [table])
  await db.raw('checkpoint')
}
