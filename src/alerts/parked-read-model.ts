import { type Database, sqlRows } from '../storage/database.js'
import type { Condition, Probe } from './alert.js'

/** Counted up to here: a receiver that refuses everything must not make each look a long one. */
const COUNTED = 1_000

interface Row {
  stream_id: string
  receiver: string | null
  count: number
  oldest_at: Date
  codes: string[]
}

/** Jumps from stream to stream along the index of open items. Only reads. */
const BY_STREAM = `
  with recursive held as (
    (select stream_id from parked where resolved_at is null and kind = 'delivery' and stream_id is not null
     order by stream_id limit 1)
    union all
    select (select p.stream_id from parked p
      where p.resolved_at is null and p.kind = 'delivery' and p.stream_id > held.stream_id
      order by p.stream_id limit 1)
    from held where held.stream_id is not null
  )
  select held.stream_id, r.name as receiver, items.count, items.oldest_at, items.codes
  from held cross join lateral (
    select count(*) as count, min(parked_at) as oldest_at, array_agg(distinct code) as codes from (
      select p.parked_at, p.code from parked p
      where p.resolved_at is null and p.kind = 'delivery' and p.stream_id = held.stream_id limit ${COUNTED}) counted) items
  left join streams s on s.stream_id = held.stream_id left join receivers r on r.id = s.receiver_id
  where held.stream_id is not null`

const OF_NO_STREAM = `
  select kind, count(*) as count, min(parked_at) as oldest_at, array_agg(distinct code) as codes
  from (values ('event'), ('record')) as kinds(kind) cross join lateral (
    select p.parked_at, p.code from parked p where p.resolved_at is null and p.kind = kinds.kind limit ${COUNTED}) counted
  group by kind`

/** What is parked, an alert per stream. Reasons are a receiver's own words and stay out of it. */
export function createParkedProbe(db: Database): Probe {
  const conditionOf = (
    row: Omit<Row, 'stream_id' | 'receiver'>,
    { object, what, names }: { object: string; what: string; names: object },
  ): Condition => ({
    kind: 'sets_parked',
    object,
    summary: `${row.count === COUNTED ? `${COUNTED} or more` : row.count} parked: ${what}.`,
    detail: { ...names, count: row.count, oldest_at: row.oldest_at.toISOString(), codes: row.codes },
  })
  return {
    kinds: ['sets_parked'],
    async look() {
      const byStream = await sqlRows<Row>(db, BY_STREAM)
      const others = await sqlRows<Row & { kind: 'event' | 'record' }>(db, OF_NO_STREAM)
      return [
        ...byStream.map((row) =>
          conditionOf(row, {
            object: `stream:${row.stream_id}`,
            what: `SETs that ${row.receiver ?? 'a receiver that is gone'} does not take`,
            names: { stream_id: row.stream_id, receiver: row.receiver },
          }),
        ),
        ...others.map((row) =>
          conditionOf(row, {
            object: `parked:${row.kind}s`,
            what:
              row.kind === 'event'
                ? 'events that are unknown or not well-formed'
                : 'records of the event log that are not believed',
            names: {},
          }),
        ),
      ]
    },
  }
}
