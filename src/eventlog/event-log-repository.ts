import { LANE_NUMBER, LANES, type Lane } from '../secevent/event.js'
import { type Database, type SqlPlace, sqlRows } from '../storage/database.js'
import type { LogRecord } from './event-log.js'

export interface OpenRow {
  readonly id: number
  readonly slot: number
  readonly record: string
}

export interface RelayRow extends OpenRow {
  readonly lane: Lane
  readonly eventId: string
  readonly ageS: number
}

const INSERT = `
  insert into event_log (lane, slot, event_id, record)
  select lane, slot, event_id, record
  from unnest(?::smallint[], ?::smallint[], ?::uuid[], ?::text[]) with ordinality as t(lane, slot, event_id, record, n)
  order by n
  returning id`

/** Sole writer of `event_log`. A row is open until its effect is stored; then it is deleted, or kept for the relay. */
export const eventLogRepository = {
  /** Answers the ids, in order. With a deadline a connection that does not answer is given up, not waited for. */
  async insert(db: Database, records: readonly LogRecord[], timeoutMs?: number): Promise<number[]> {
    const rows = await sqlRows<{ id: number }>(
      db,
      INSERT,
      [
        records.map((record) => LANE_NUMBER[record.lane]),
        records.map((record) => record.slot),
        records.map((record) => record.eventId),
        records.map((record) => record.record),
      ],
      timeoutMs === undefined ? {} : { timeoutMs },
    )
    return rows.map((row) => row.id)
  },

  /** Open rows of these slots, oldest first. */
  async findOpen(
    db: Database,
    query: { lane: Lane; slots: readonly number[]; limit: number; timeoutMs: number },
  ): Promise<OpenRow[]> {
    return await sqlRows<OpenRow>(
      db,
      `select id, slot, record from event_log
       where lane = ? and not relay and slot = any(?::smallint[]) order by id limit ?`,
      [LANE_NUMBER[query.lane], query.slots, query.limit],
      { timeoutMs: query.timeoutMs },
    )
  },

  /**
   * Deletes these open rows, or keeps them for the relay. Fails with `division_by_zero` when some were not open any more: as
   * a part of the statement, so that a COMMIT which is sent along with it commits nothing then.
   */
  async close(
    trx: SqlPlace,
    { gone, kept }: { gone: readonly number[]; kept: readonly number[] },
  ): Promise<void> {
    await sqlRows(
      trx,
      `with gone as (delete from event_log where id = any(?::bigint[]) and not relay returning 1),
       kept as (update event_log set relay = true where id = any(?::bigint[]) and not relay returning 1),
       closed as (select 1 from gone union all select 1 from kept)
       select 1 / (count(*) = ?)::int from closed`,
      [gone, kept, gone.length + kept.length],
    )
  },

  /** Whether open rows of these slots are there besides these. */
  async hasOthers(
    trx: SqlPlace,
    among: { lane: Lane; slots: readonly number[]; ids: readonly number[] },
  ): Promise<boolean> {
    const rows = await sqlRows(
      trx,
      'select 1 from event_log where lane = ? and not relay and slot = any(?::smallint[]) and id <> all(?::bigint[]) limit 1',
      [LANE_NUMBER[among.lane], among.slots, among.ids],
    )
    return rows.length > 0
  },

  async findForRelay(db: Database, limit: number): Promise<RelayRow[]> {
    const rows = await sqlRows<Omit<RelayRow, 'lane'> & { lane: number }>(
      db,
      `select id, lane, slot, event_id as "eventId", record,
         extract(epoch from clock_timestamp() - appended_at)::float8 as "ageS"
       from event_log where relay order by id limit ?`,
      [limit],
    )
    return rows.map((row) => ({ ...row, lane: LANES[row.lane] as Lane }))
  },

  /** Rows that wait for the relay, from after this id. */
  async findRelayedAfter(
    db: Database,
    after: number,
    limit: number,
  ): Promise<{ id: number; record: string }[]> {
    return await sqlRows(db, 'select id, record from event_log where relay and id > ? order by id limit ?', [
      after,
      limit,
    ])
  },

  async removeRelayed(db: Database, ids: readonly number[]): Promise<void> {
    await sqlRows(db, 'delete from event_log where id = any(?::bigint[]) and relay', [ids])
  },

  /** Lanes and slots that have open rows in a range of ids. */
  async findOpenPlaces(db: Database, from: number, to: number): Promise<{ lane: Lane; slot: number }[]> {
    const rows = await sqlRows<{ lane: number; slot: number }>(
      db,
      'select distinct lane, slot from event_log where not relay and id between ? and ?',
      [from, to],
    )
    return rows.map((row) => ({ lane: LANES[row.lane] as Lane, slot: row.slot }))
  },

  /** Open rows of a lane, counted up to 100,000, and the age of the oldest in seconds. */
  async measure(db: Database, lane: Lane): Promise<{ records: number; oldestAgeS: number }> {
    const [row] = await sqlRows<{ records: number; age: number | null }>(
      db,
      `select (select count(*) from (select 1 from event_log where lane = ? and not relay limit 100000) c) as records,
         (select extract(epoch from clock_timestamp() - appended_at)::float8 from event_log
          where lane = ? and not relay order by id limit 1) as age`,
      [LANE_NUMBER[lane], LANE_NUMBER[lane]],
    )
    return { records: row?.records ?? 0, oldestAgeS: Math.max(0, row?.age ?? 0) }
  },

  async readSetting(db: Database, name: 'synchronous_commit'): Promise<string> {
    const [row] = await sqlRows<{ value: string }>(db, 'select current_setting(?) as value', [name])
    return row?.value ?? ''
  },
}
