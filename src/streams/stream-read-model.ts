import { type Database, sqlRows } from '../storage/database.js'
import {
  type DeliveryMethod,
  METHOD_URI,
  type StatusCause,
  type StatusSetter,
  type StreamStatus,
} from './stream.js'

/** A stream as operators see it. Never a secret. */
export interface StreamOverview {
  stream_id: string
  receiver: { id: string; name: string }
  status: StreamStatus
  status_reason: string | null
  status_by: StatusSetter
  status_cause: StatusCause | null
  /** Of a push stream whose endpoint does nothing but fail; what stands there may be 15 s old. */
  failing: StreamFailing | null
  delivery: { method: string; endpoint_url: string | null }
  events_requested: string[] | null
  events_delivered: string[]
  description: string | null
  subject_count: number
  shard: number
  verified_at: string | null
  active_at: string
  created_at: string
  updated_at: string
}

export interface StreamFailing {
  /** Of the last failure: docs/operating.md has the table. */
  class: string
  reason: string
  since: string
  /** Since when it has been of this class alone. */
  class_since: string
  /** In a row. */
  failures: number
  last_failed_at: string
  /** Null once it is past: any moment. */
  next_probe_at: string | null
}

export interface StreamDetail extends StreamOverview {
  /** Deliveries not yet received; counted up to 10,000, which then means "or more". */
  open_deliveries: number
  oldest_open_at: string | null
}

interface OverviewRow {
  stream_id: string
  receiver_id: string
  receiver_name: string
  status: StreamStatus
  status_reason: string | null
  status_by: StatusSetter
  status_cause: StatusCause | null
  failure_class: string | null
  failure_reason: string
  failing_since: Date
  class_since: Date
  failures: number
  last_failed_at: Date
  next_probe_at: Date | null
  delivery_method: DeliveryMethod
  endpoint_url: string | null
  events_requested: string[] | null
  events_delivered: string[]
  description: string | null
  subject_count: number
  shard: number
  verified_at: Date | null
  active_at: Date
  created_at: Date
  changed_at: Date
}

export interface StreamFilter {
  receiverId?: string | undefined
  status?: StreamStatus | undefined
  limit: number
  /** Id of the last stream of the page before. */
  after?: string | undefined
}

const SELECT = `
  select s.*, r.name as receiver_name, f.class as failure_class, f.reason as failure_reason, f.failing_since,
    f.class_since, f.failures, f.last_failed_at,
    case when f.next_probe_at > clock_timestamp() then f.next_probe_at end as next_probe_at,
    greatest(s.updated_at, s.configured_at) as changed_at
  from streams s join receivers r on r.id = s.receiver_id
  left join stream_failures f on f.stream_id = s.stream_id and s.delivery_method = 'push'`
const OPEN_COUNT_LIMIT = 10_000

/** Joins `streams`, `receivers`, `stream_failures` and `delivery_queue`; only reads. */
export function createStreamReadModel(db: Database) {
  return {
    /** In order of their ids: one more than `limit` shows that there are more. */
    async list(filter: StreamFilter): Promise<StreamOverview[]> {
      const rows = await sqlRows<OverviewRow>(
        db,
        `${SELECT} where (?::uuid is null or s.receiver_id = ?::uuid) and (?::text is null or s.status = ?::text)
           and (?::uuid is null or s.stream_id > ?::uuid)
         order by s.stream_id limit ?`,
        [
          ...twice(filter.receiverId ?? null),
          ...twice(filter.status ?? null),
          ...twice(filter.after ?? null),
          filter.limit + 1,
        ],
      )
      return rows.map(toOverview)
    },

    async find(streamId: string): Promise<StreamDetail | undefined> {
      const [row] = await sqlRows<OverviewRow>(db, `${SELECT} where s.stream_id = ?`, [streamId])
      if (!row) return undefined
      // Bounded: a backlog of millions must not make this page slow.
      const [open] = await sqlRows<{ n: number; oldest: Date | null }>(
        db,
        `select count(*)::int as n, min(queued_at) as oldest
         from (select queued_at from delivery_queue where stream_id = ? order by lane, event_id limit ?) q`,
        [streamId, OPEN_COUNT_LIMIT],
      )
      return {
        ...toOverview(row),
        open_deliveries: open?.n ?? 0,
        oldest_open_at: open?.oldest?.toISOString() ?? null,
      }
    },
  }
}

export type StreamReadModel = ReturnType<typeof createStreamReadModel>

function twice<T>(value: T): [T, T] {
  return [value, value]
}

function toOverview(row: OverviewRow): StreamOverview {
  return {
    stream_id: row.stream_id,
    receiver: { id: row.receiver_id, name: row.receiver_name },
    status: row.status,
    status_reason: row.status_reason,
    status_by: row.status_by,
    status_cause: row.status_cause,
    failing: toFailing(row),
    delivery: { method: METHOD_URI[row.delivery_method], endpoint_url: row.endpoint_url },
    events_requested: row.events_requested,
    events_delivered: row.events_delivered,
    description: row.description,
    subject_count: row.subject_count,
    shard: row.shard,
    verified_at: row.verified_at?.toISOString() ?? null,
    active_at: row.active_at.toISOString(),
    created_at: row.created_at.toISOString(),
    updated_at: row.changed_at.toISOString(),
  }
}

function toFailing(row: OverviewRow): StreamFailing | null {
  if (row.failure_class === null) return null
  return {
    class: row.failure_class,
    reason: row.failure_reason,
    since: row.failing_since.toISOString(),
    class_since: row.class_since.toISOString(),
    failures: row.failures,
    last_failed_at: row.last_failed_at.toISOString(),
    next_probe_at: row.next_probe_at?.toISOString() ?? null,
  }
}
