import { createHmac, randomUUID } from 'node:crypto'
import { createEventIds } from '../../src/kernel/ids.js'
import { createJtiCodec } from '../../src/secevent/delivery-jti.js'
import { type Database, sqlRows } from '../../src/storage/database.js'

export const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
export const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change'

/** The names that the seeded deliveries have at their receivers. */
export const jtis = createJtiCodec((data) => createHmac('sha256', 'seed').update(data).digest())

export interface SeedReceiver {
  receiverId: string
  streamId: string
}

export interface SeedDelivery extends SeedReceiver {
  jti: string
  eventId: string
  day: string
}

export interface DeliveryFields {
  acceptedAtMs: number
  /** Default: a received delivery. */
  place?: 'deliveries' | 'queue' | 'parked'
  outcome?: string
  /** From accepting, ms. */
  deliveredMs?: number | null
  receivedMs?: number | null
  finishedMs?: number
  expects?: number
  type?: string
  sourceId?: string
  eventTimestampMs?: number | null
  eventId?: string
  txn?: string
  failure?: string
  attempts?: number
  lane?: number
}

/** Days that the migration made no partitions for. */
export async function ensureDays(db: Database, fromMs: number, toMs: number): Promise<void> {
  await sqlRows(db, 'select ensure_day_partitions(?::date, ?::date)', [dayText(fromMs), dayText(toMs)])
}

export const dayText = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

export async function seedReceiver(db: Database, name: string): Promise<SeedReceiver> {
  const receiverId = randomUUID()
  await db('receivers').insert({ id: receiverId, name, client_id: name, audience: `https://${name}.example` })
  return { receiverId, streamId: await seedStream(db, receiverId) }
}

export async function seedStream(
  db: Database,
  receiverId: string,
  method: 'push' | 'poll' = 'poll',
): Promise<string> {
  const streamId = randomUUID()
  await db('streams').insert({
    stream_id: streamId,
    receiver_id: receiverId,
    shard: 1,
    delivery_method: method,
  })
  return streamId
}

export async function seedSource(db: Database, name: string): Promise<string> {
  const id = randomUUID()
  await db('transmitters').insert({
    id,
    name,
    issuer: `https://${name}.example`,
    audience: ['a'],
    algorithms: ['RS256'],
  })
  return id
}

/** The time of an event id and a random rest: ids of one ms are in no order. */
export function eventIdAt(ms: number): string {
  const timed = createEventIds({ now: () => ms, monotonicMs: () => 0 })()
  return `${timed.slice(0, 19)}${randomUUID().slice(19)}`
}

export async function seedDelivery(
  db: Database,
  to: SeedReceiver,
  fields: DeliveryFields,
): Promise<SeedDelivery> {
  const row = commonRow(to, fields)
  await seedEvent(db, row)
  const place = fields.place ?? 'deliveries'
  const deliveredAt = fields.deliveredMs === undefined ? 5 : fields.deliveredMs
  const delivered = deliveredAt === null ? null : iso(fields.acceptedAtMs + deliveredAt)
  if (place === 'deliveries') await seedFinished(db, row, { ...fields, delivered })
  else {
    const open = {
      ...row,
      shard: 1,
      delivered_at: place === 'queue' && fields.deliveredMs === undefined ? null : delivered,
      last_failure: fields.failure ?? null,
    }
    if (place === 'queue') await db('delivery_queue').insert(open)
    else await seedParked(db, open)
  }
  return { ...to, jti: jtis.mint(row.event_id, to.receiverId), eventId: row.event_id, day: row.day }
}

function commonRow(to: SeedReceiver, fields: DeliveryFields) {
  const { acceptedAtMs } = fields
  const day = dayText(acceptedAtMs)
  const eventTimestampMs =
    fields.eventTimestampMs === undefined ? acceptedAtMs - 1_000 : fields.eventTimestampMs
  return {
    stream_id: to.streamId,
    receiver_id: to.receiverId,
    event_id: fields.eventId ?? eventIdAt(acceptedAtMs),
    day,
    type: fields.type ?? SESSION_REVOKED,
    effect: 'tightens',
    lane: fields.lane ?? 1,
    txn: fields.txn ?? randomUUID(),
    source_id: fields.sourceId ?? randomUUID(),
    accepted_at: iso(acceptedAtMs),
    event_timestamp: iso(eventTimestampMs),
    expects: fields.expects ?? 3,
    queued_at: iso(acceptedAtMs + 1),
    attempts: fields.attempts ?? 1,
  }
}

/** Deliveries are found by txn through their events. */
async function seedEvent(db: Database, row: ReturnType<typeof commonRow>): Promise<void> {
  const { event_id, day, accepted_at, lane, effect, type, txn, source_id, event_timestamp } = row
  const event = { event_id, day, accepted_at, lane, effect, type, txn, source_id, event_timestamp }
  await db('events')
    .insert({ ...event, source_issuer: 'https://idp.example', source_jti: randomUUID() })
    .onConflict()
    .ignore()
}

async function seedFinished(
  db: Database,
  row: ReturnType<typeof commonRow>,
  fields: DeliveryFields & { delivered: string | null },
): Promise<void> {
  const outcome = fields.outcome ?? 'received'
  const receivedMs = fields.receivedMs === undefined ? 10 : fields.receivedMs
  const received =
    outcome === 'received' && receivedMs !== null ? iso(fields.acceptedAtMs + receivedMs) : null
  await db('deliveries').insert({
    ...row,
    delivered_at: fields.delivered,
    received_at: received,
    finished_at: iso(fields.acceptedAtMs + (fields.finishedMs ?? receivedMs ?? 10)),
    outcome,
    failure: fields.failure ?? null,
  })
}

/** As delivery parks: the whole row of the queue as JSON. */
async function seedParked(db: Database, open: Record<string, unknown>): Promise<void> {
  await sqlRows(
    db,
    `insert into parked (id, kind, code, reason, lane, stream_id, event_id, type, txn, delivery)
     select ?::uuid, 'delivery', 'ERR_REJECTED', 'the receiver refused it', q.lane, q.stream_id, q.event_id, q.type, q.txn,
       to_jsonb(q) from jsonb_populate_record(null::delivery_queue, ?::jsonb) q`,
    [randomUUID(), JSON.stringify(open)],
  )
}

export async function seedReport(
  db: Database,
  delivery: SeedDelivery,
  report: { stage?: string; status: string; replica?: string; atMs: number },
): Promise<void> {
  await db('acknowledgements').insert({
    stream_id: delivery.streamId,
    event_id: delivery.eventId,
    day: delivery.day,
    receiver_id: delivery.receiverId,
    stage: report.stage ?? 'applied',
    status: report.status,
    replica: report.replica ?? '',
    reported_at: new Date(report.atMs).toISOString(),
  })
}
