import { type Database, sqlRows } from '../storage/database.js'
import type { DeliveryMethod, StatusCause, StatusSetter, Stream, StreamStatus } from './stream.js'

interface StreamRow {
  stream_id: string
  receiver_id: string
  shard: number
  status: StreamStatus
  status_reason: string | null
  status_by: StatusSetter
  status_cause: StatusCause | null
  delivery_method: DeliveryMethod
  endpoint_url: string | null
  authorization_wrapped: Buffer | null
  events_requested: string[] | null
  events_delivered: string[]
  description: string | null
  subject_count: number
  version: number
}

/** What a receiver's request, or a change of its grants, may alter. */
export type StreamConfigurationChange = Pick<
  Stream,
  | 'deliveryMethod'
  | 'endpointUrl'
  | 'authorizationSealed'
  | 'eventsRequested'
  | 'eventsDelivered'
  | 'description'
>

export type NewStream = StreamConfigurationChange & Pick<Stream, 'streamId' | 'receiverId' | 'shard'>

export interface StreamRequest {
  readonly receiverId: string
  readonly requested: readonly string[]
  readonly delivered: readonly string[]
  /** Undefined: every type. */
  readonly grantEventTypes: readonly string[] | undefined
}

export interface StatusChange {
  status: StreamStatus
  reason: string | undefined
  by: StatusSetter
  /** Of a pause by the hub. */
  cause?: StatusCause | undefined
}

/**
 * Sole writer of `streams` and `stream_event_types`. Takes a pool or a transaction. A missing row is `undefined`; the
 * service decides if that is an error.
 */
export function createStreamRepository(db: Database) {
  async function one(sql: string, bindings: readonly unknown[]): Promise<Stream | undefined> {
    const [row] = await sqlRows<StreamRow>(db, sql, bindings)
    return row && toStream(row)
  }

  async function saveEventTypes(streamId: string, types: readonly string[]): Promise<void> {
    await sqlRows(db, 'delete from stream_event_types where stream_id = ? and event_type <> all(?::text[])', [
      streamId,
      types,
    ])
    await sqlRows(
      db,
      'insert into stream_event_types (event_type, stream_id) select unnest(?::text[]), ? on conflict do nothing',
      [types, streamId],
    )
  }

  return {
    /** The receiver's own stream, or undefined: also for another's. */
    find: (receiverId: string, streamId: string) =>
      one('select * from streams where receiver_id = ? and stream_id = ?', [receiverId, streamId]),

    async list(receiverId: string): Promise<Stream[]> {
      const rows = await sqlRows<StreamRow>(
        db,
        'select * from streams where receiver_id = ? order by created_at, stream_id',
        [receiverId],
      )
      return rows.map(toStream)
    },

    /** What every stream asked for and gets, with what its receiver may have. */
    async listRequests(): Promise<StreamRequest[]> {
      const rows = await sqlRows<{
        receiver_id: string
        events_requested: string[]
        events_delivered: string[]
        grant_event_types: string[] | null
      }>(
        db,
        `select s.receiver_id, s.events_requested, s.events_delivered, r.grant_event_types
         from streams s join receivers r on r.id = s.receiver_id where s.events_requested is not null`,
      )
      return rows.map((row) => ({
        receiverId: row.receiver_id,
        requested: row.events_requested,
        delivered: row.events_delivered,
        grantEventTypes: row.grant_event_types ?? undefined,
      }))
    },

    async count(receiverId: string): Promise<number> {
      const [row] = await sqlRows<{ n: number }>(
        db,
        'select count(*)::int as n from streams where receiver_id = ?',
        [receiverId],
      )
      return row?.n ?? 0
    },

    /** Holds the row until the transaction ends, so that changes of one stream come one after the other. */
    lock: (receiverId: string, streamId: string) =>
      one('select * from streams where receiver_id = ? and stream_id = ? for update', [receiverId, streamId]),

    /** Any receiver's stream: for the hub's own work and operators, never for a receiver's call. */
    findAny: (streamId: string) => one('select * from streams where stream_id = ?', [streamId]),

    /** The same, held until the transaction ends. */
    lockAny: (streamId: string) => one('select * from streams where stream_id = ? for update', [streamId]),

    async insert(stream: NewStream): Promise<Stream> {
      const saved = await one(
        `insert into streams (stream_id, receiver_id, shard, delivery_method, endpoint_url, authorization_wrapped,
           events_requested, events_delivered, description)
         values (?, ?, ?, ?, ?, ?, ?::text[], ?::text[], ?) returning *`,
        [stream.streamId, stream.receiverId, stream.shard, ...configurationBindings(stream)],
      )
      await saveEventTypes(stream.streamId, stream.eventsDelivered)
      return saved as Stream
    },

    /** The stream must be locked by this transaction. */
    async saveConfiguration(streamId: string, change: StreamConfigurationChange): Promise<Stream> {
      const saved = await one(
        `update streams set delivery_method = ?, endpoint_url = ?, authorization_wrapped = ?,
           events_requested = ?::text[], events_delivered = ?::text[], description = ?,
           version = version + 1, active_at = now(), configured_at = now()
         where stream_id = ? returning *`,
        [...configurationBindings(change), streamId],
      )
      await saveEventTypes(streamId, change.eventsDelivered)
      return saved as Stream
    },

    /**
     * The stream must be locked by this transaction. Only another status moves `updated_at`, by which senders know what
     * a pause held: also what was queued while this transaction was under way.
     */
    async saveStatus(streamId: string, change: StatusChange): Promise<Stream> {
      const saved = await one(
        `update streams set status = ?, status_reason = ?, status_by = ?, status_cause = ?,
           updated_at = case when status = ? then updated_at else clock_timestamp() end, configured_at = now(),
           version = version + 1, active_at = now()
         where stream_id = ? returning *`,
        [change.status, change.reason ?? null, change.by, change.cause ?? null, change.status, streamId],
      )
      return saved as Stream
    },

    /** What decides where SETs go, or whether they may, has changed for all streams of this receiver. */
    async raiseVersions(receiverId: string): Promise<void> {
      await sqlRows(db, 'update streams set version = version + 1 where receiver_id = ?', [receiverId])
    },

    /** What decides how SETs go has changed outside its row. The stream must be locked by this transaction. */
    async raiseVersion(streamId: string): Promise<void> {
      await sqlRows(
        db,
        'update streams set version = version + 1, configured_at = now() where stream_id = ?',
        [streamId],
      )
    },

    /** The notice of its status was written again. The stream must be locked by this transaction. */
    async noteNotice(streamId: string): Promise<void> {
      await sqlRows(db, 'update streams set version = version + 1, updated_at = now() where stream_id = ?', [
        streamId,
      ])
    },

    /** The stream must be locked by this transaction. Leaves `version` alone: senders need not know. */
    async saveSubjectCount(streamId: string, added: number): Promise<void> {
      await sqlRows(
        db,
        `update streams set subject_count = subject_count + ?, active_at = now(), configured_at = now()
         where stream_id = ?`,
        [added, streamId],
      )
    },

    /** Its subjects and event types go with it. */
    async delete(streamId: string): Promise<void> {
      await sqlRows(db, 'delete from streams where stream_id = ?', [streamId])
    },

    /**
     * Notes a request for verification, unless the last is younger than the interval. Leaves `version` alone: nothing
     * that a cache holds changes.
     * @returns 0 when noted, else the seconds until the next is allowed
     */
    async noteVerificationRequest(streamId: string, intervalS: number): Promise<number> {
      const [row] = await sqlRows<{ wait_s: number }>(
        db,
        `select greatest(0, ? - extract(epoch from clock_timestamp() - verification_requested_at))::float8 as wait_s
         from streams where stream_id = ? and verification_requested_at is not null`,
        [intervalS, streamId],
      )
      if (row && row.wait_s > 0) return row.wait_s
      await sqlRows(
        db,
        'update streams set verification_requested_at = clock_timestamp(), active_at = now() where stream_id = ?',
        [streamId],
      )
      return 0
    },

    /** The receiver has acknowledged a verification event: for the room delivery. */
    async markVerified(streamId: string): Promise<void> {
      await sqlRows(db, 'update streams set verified_at = clock_timestamp() where stream_id = ?', [streamId])
    },

    /** Restarts the inactivity timer (SSF 1.0 §8.1.1): reads by the receiver, and polls of a poll stream. */
    async touch(streamIds: readonly string[]): Promise<void> {
      await sqlRows(db, 'update streams set active_at = now() where stream_id = any(?::uuid[])', [streamIds])
    },
  }
}

function configurationBindings(change: StreamConfigurationChange): unknown[] {
  return [
    change.deliveryMethod,
    change.endpointUrl ?? null,
    change.authorizationSealed ?? null,
    change.eventsRequested ?? null,
    change.eventsDelivered,
    change.description ?? null,
  ]
}

function toStream(row: StreamRow): Stream {
  return {
    streamId: row.stream_id,
    receiverId: row.receiver_id,
    shard: row.shard,
    status: row.status,
    statusReason: row.status_reason ?? undefined,
    statusBy: row.status_by,
    statusCause: row.status_cause ?? undefined,
    deliveryMethod: row.delivery_method,
    endpointUrl: row.endpoint_url ?? undefined,
    authorizationSealed: row.authorization_wrapped ?? undefined,
    eventsRequested: row.events_requested ?? undefined,
    eventsDelivered: row.events_delivered,
    description: row.description ?? undefined,
    subjectCount: row.subject_count,
    version: row.version,
  }
}
