import type { TimeCursor } from '../http/page.js'
import { newId } from '../kernel/ids.js'
import { type Database, sqlRows, type Transaction } from '../storage/database.js'
import {
  type Alert,
  type AlertKind,
  type Condition,
  columnsOf,
  keyOf,
  SEVERITY,
  type Severity,
} from './alert.js'

export type Channel = 'webhook' | 'log'

/** What waits to be told on one way out. */
export interface Notice {
  readonly seq: number
  readonly noticeId: string
  readonly body: string
  readonly attempts: number
  readonly ageMs: number
  /** Of the last attempt. */
  readonly failure: string | null
}

export interface NewNotice {
  readonly channel: Channel
  readonly noticeId: string
  readonly alertId: string
  readonly body: string
}

export interface AlertFilter {
  readonly state: 'open' | 'resolved' | 'all'
  readonly kind?: AlertKind | undefined
  /** Older than this (`opened_at`, `id`). */
  readonly after?: TimeCursor | undefined
  readonly limit: number
}

interface AlertRow {
  id: string
  kind: AlertKind
  object: string
  severity: Severity
  summary: string
  detail: Record<string, unknown>
  opened_at: Date
  last_seen_at: Date
  resolved_at: Date | null
  reopened: number
}

const COLUMN_NAMES = [
  'id',
  'kind',
  'object',
  'severity',
  'summary',
  'detail',
  'opened_at',
  'last_seen_at',
  'resolved_at',
  'reopened',
] as const
const COLUMNS = COLUMN_NAMES.join(', ')

const toAlert = (row: AlertRow): Alert => ({
  id: row.id,
  kind: row.kind,
  object: row.object,
  severity: row.severity,
  summary: row.summary,
  detail: row.detail,
  openedAt: row.opened_at,
  lastSeenAt: row.last_seen_at,
  resolvedAt: row.resolved_at,
  reopened: row.reopened,
})

/** By the unit in which a cursor says it. */
const LISTED_BY = "date_trunc('milliseconds', opened_at at time zone 'UTC')"

/** An alert that came back must be unseen for twice as long each time before it is over again, up to so many times as long. */
const MOST_PATIENCE = 20

/** Sole writer of `alerts` and `alert_notices`. All times are the database's. */
export const alertRepository = {
  /** Notes that these conditions still hold. @returns the keys of those for which an alert is open */
  async touch(trx: Transaction, conditions: readonly Condition[]): Promise<Set<string>> {
    if (conditions.length === 0) return new Set()
    const rows = await sqlRows<{ kind: AlertKind; object: string }>(
      trx,
      `update alerts a set last_seen_at = clock_timestamp(), summary = c.summary, detail = c.detail
       from unnest(?::text[], ?::text[], ?::text[], ?::jsonb[]) as c(kind, object, summary, detail)
       where a.resolved_at is null and a.kind = c.kind and a.object = c.object
       returning a.kind, a.object`,
      columnsOf(conditions),
    )
    return new Set(rows.map(keyOf))
  },

  /** @returns those that nobody had opened */
  async open(trx: Transaction, conditions: readonly Condition[]): Promise<Alert[]> {
    if (conditions.length === 0) return []
    const rows = await sqlRows<AlertRow>(
      trx,
      `insert into alerts (id, severity, kind, object, summary, detail, reopened)
       select n.*, (select count(*) from alerts a where a.kind = n.kind and a.object = n.object
         and a.resolved_at > clock_timestamp() - interval '1 hour')
       from unnest(?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[], ?::jsonb[])
         as n(id, severity, kind, object, summary, detail)
       on conflict (kind, object) where resolved_at is null do nothing
       returning ${COLUMNS}`,
      [conditions.map(() => newId()), conditions.map(({ kind }) => SEVERITY[kind]), ...columnsOf(conditions)],
    )
    return rows.map(toAlert)
  },

  /** Ends what nobody saw for so long (longer when it came back before), but for kinds that nobody could look at. @returns what ended now */
  async resolveUnseen(
    trx: Transaction,
    unseen: { forMs: number; except: readonly AlertKind[] },
  ): Promise<Alert[]> {
    const rows = await sqlRows<AlertRow>(
      trx,
      `update alerts set resolved_at = clock_timestamp()
       where resolved_at is null and kind <> all(?::text[])
         and last_seen_at < clock_timestamp()
           - least(power(2, reopened), ${MOST_PATIENCE}) * ?::float8 * interval '1 millisecond'
       returning ${COLUMNS}`,
      [[...unseen.except], unseen.forMs],
    )
    return rows.map(toAlert)
  },

  async countOpen(db: Database): Promise<Map<AlertKind, number>> {
    const rows = await sqlRows<{ kind: AlertKind; count: number }>(
      db,
      'select kind, count(*) as count from alerts where resolved_at is null group by kind',
    )
    return new Map(rows.map(({ kind, count }) => [kind, count]))
  },

  /** Newest first. */
  async list(db: Database, filter: AlertFilter): Promise<Alert[]> {
    const query = db<AlertRow, AlertRow[]>('alerts').select(...COLUMN_NAMES)
    if (filter.state === 'open') query.whereNull('resolved_at')
    if (filter.state === 'resolved') query.whereNotNull('resolved_at')
    if (filter.kind) query.where('kind', filter.kind)
    if (filter.after) {
      query.whereRaw(`(${LISTED_BY}, id) < (?::timestamptz at time zone 'UTC', ?::uuid)`, [
        filter.after.at,
        filter.after.id,
      ])
    }
    const rows = await query.orderByRaw(`${LISTED_BY} desc, id desc`).limit(filter.limit)
    return rows.map(toAlert)
  },

  /** Drops what ended so long ago, and notices as old: their way out is no longer configured. */
  async forget(db: Database, days: number): Promise<void> {
    await sqlRows(db, 'delete from alerts where resolved_at < now() - make_interval(days => ?)', [days])
    await sqlRows(db, 'delete from alert_notices where created_at < now() - make_interval(days => ?)', [days])
  },

  async addNotices(trx: Transaction, notices: readonly NewNotice[]): Promise<void> {
    if (notices.length === 0) return
    await sqlRows(
      trx,
      `insert into alert_notices (channel, notice_id, alert_id, body)
       select * from unnest(?::text[], ?::text[], ?::uuid[], ?::text[])`,
      [
        notices.map(({ channel }) => channel),
        notices.map(({ noticeId }) => noticeId),
        notices.map(({ alertId }) => alertId),
        notices.map(({ body }) => body),
      ],
    )
  },

  /**
   * Takes notices that are due, for so long: two that think they lead tell each only once. Of each alert its oldest only,
   * so that nobody hears of a recovery first.
   */
  async claimNotices(
    db: Database,
    channel: Channel,
    claim: { limit: number; forMs: number },
  ): Promise<Notice[]> {
    const rows = await sqlRows<{
      seq: number
      notice_id: string
      body: string
      attempts: number
      age_ms: number
      failure: string | null
    }>(
      db,
      `update alert_notices set next_attempt_at = clock_timestamp() + ?::float8 * interval '1 millisecond'
       where seq in (
         select n.seq from alert_notices n
         where n.channel = ? and n.next_attempt_at <= clock_timestamp() and not exists (
           select from alert_notices e where e.alert_id = n.alert_id and e.channel = n.channel and e.seq < n.seq)
         order by n.seq limit ? for update skip locked)
       returning seq, notice_id, body, attempts, last_failure as failure,
         extract(epoch from clock_timestamp() - created_at)::float8 * 1000 as age_ms`,
      [claim.forMs, channel, claim.limit],
    )
    return rows.map(({ notice_id, age_ms, ...row }) => ({ ...row, noticeId: notice_id, ageMs: age_ms }))
  },

  /** It was taken, or given up. */
  async removeNotice(db: Database, seq: number): Promise<void> {
    await sqlRows(db, 'delete from alert_notices where seq = ?', [seq])
  },

  async postponeNotice(db: Database, seq: number, later: { failure: string; waitMs: number }): Promise<void> {
    await sqlRows(
      db,
      `update alert_notices set attempts = attempts + 1, last_failure = ?,
         next_attempt_at = clock_timestamp() + ?::float8 * interval '1 millisecond'
       where seq = ?`,
      [later.failure, later.waitMs, seq],
    )
  },

  async countNotices(db: Database): Promise<Map<Channel, number>> {
    const rows = await sqlRows<{ channel: Channel; count: number }>(
      db,
      'select channel, count(*) as count from alert_notices group by channel',
    )
    return new Map(rows.map(({ channel, count }) => [channel, count]))
  },
}
