import { type Database, sqlRows } from '../storage/database.js'
import { type DeliveryMethod, METHOD_URI, type StatusSetter, type StreamStatus } from './stream.js'

/** A stream as operators see it. Never a secret. */
export interface StreamOverview {
  stream_id: string
  receiver: { id: string; name: string }
  status: StreamStatus
  status_reason: string | null
  status_by: StatusSetter
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
  updated_at: Date
}

export interface StreamFilter {
  receiverId?: string | undefined
  status?: StreamStatus | undefined
  limit: number
  /** Id of the last stream of the page before. */
  after?: string | undefined
}

const SELECT = 'select s.*, r.name as receiver_name from streams s join receivers r on r.id = s.receiver_id'
const OPEN_COUNT_LIMIT = 10_000

/** Joins `streams`, `receivers` and `delivery_queue`; only reads. */
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
    delivery: { method: METHOD_URI[row.delivery_method], endpoint_url: row.endpoint_url },
    events_requested: row.events_requested,
    events_delivered: row.events_delivered,
    description: row.description,
    subject_count: row.subject_count,
    shard: row.shard,
    verified_at: row.verified_at?.toISOString() ?? null,
    active_at: row.active_at.toISOString(),
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}
