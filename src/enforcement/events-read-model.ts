import { type Page, toPage } from '../http/page.js'
import { toTimestamp } from '../kernel/clock.js'
import { HUB_SOURCE_ID, LANES } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import { cursorUuid, type HistoryFilter, sharedConditions, whereSql } from './history-filter.js'
import { literalSql, runSql, type Sql, sql } from './sql-fragment.js'

export const EVENT_STATES = ['accepted', 'quarantined'] as const
export type EventState = (typeof EVENT_STATES)[number]

/** A cursor is the last event id: its order is the hub order. */
export const EVENT_CURSOR_KEYS = 1

/** Opens what was sealed under a day's key; fails for ever once that key was erased. */
export interface ContentOpener {
  contentCipher(day: string): Promise<{ open(sealed: Buffer): Buffer }>
}

interface Row {
  event_id: string
  day: string
  accepted_ms: number
  event_ms: number | null
  lane: number
  effect: string
  type: string
  txn: string
  source_id: string
  source_name: string | null
  source_issuer: string
  source_jti: string
  quarantine: string | null
  content: Buffer | null
}

interface Content {
  sub_id: unknown
  claims: unknown
}

/** Accepted events in hub order, newest first, with their content as long as its key exists. For operators. */
export function createEventsReadModel(db: Database, keys: ContentOpener) {
  return {
    async list(filter: HistoryFilter<EventState>): Promise<Page<object>> {
      const rows = await runSql<Row>(db, listSql(filter))
      const contents = new Map<string, Content | undefined>()
      for (const row of rows.slice(0, filter.limit)) contents.set(row.event_id, await openContent(keys, row))
      return toPage(rows, filter.limit, {
        keysOf: (row) => [row.event_id],
        render: (row) => toBody(row, contents.get(row.event_id)),
      })
    },
  }
}

export type EventsReadModel = ReturnType<typeof createEventsReadModel>

function listSql(filter: HistoryFilter<EventState>): Sql {
  const conditions = sharedConditions(filter, (name) => `e.${name}`)
  if (filter.txn !== undefined) conditions.push(sql`e.txn = ${filter.txn}::text`)
  if (filter.state !== undefined) {
    conditions.push(literalSql(`e.quarantine is ${filter.state === 'quarantined' ? 'not null' : 'null'}`))
  }
  if (filter.streamId !== undefined) {
    const onStream = sql`x.stream_id = ${filter.streamId}::uuid and x.event_id = e.event_id`
    conditions.push(sql`(exists (select 1 from deliveries x where ${onStream} and x.day = e.day)
      or exists (select 1 from delivery_queue x where ${onStream})
      or exists (select 1 from parked x where ${onStream} and x.resolved_at is null))`)
  }
  if (filter.after) conditions.push(sql`e.event_id < ${cursorUuid(filter.after[0])}::uuid`)
  return sql`
    select e.event_id, e.day, extract(epoch from e.accepted_at)::float8 * 1000 as accepted_ms,
      extract(epoch from e.event_timestamp)::float8 * 1000 as event_ms, e.lane, e.effect, e.type, e.txn, e.source_id,
      case when e.source_id = ${HUB_SOURCE_ID}::uuid then 'hub' else t.name end as source_name,
      e.source_issuer, e.source_jti, e.quarantine, e.content
    from events e left join transmitters t on t.id = e.source_id
    ${whereSql(conditions)}
    order by e.event_id desc limit ${filter.limit + 1}::int`
}

async function openContent(keys: ContentOpener, row: Row): Promise<Content | undefined> {
  if (row.content === null) return undefined
  try {
    const cipher = await keys.contentCipher(row.day)
    return JSON.parse(cipher.open(row.content).toString()) as Content
  } catch {
    // Erasing a day's key is how identifiers are erased: the event's frame is still history.
    return undefined
  }
}

function toBody(row: Row, content: Content | undefined): object {
  return {
    event_id: row.event_id,
    txn: row.txn,
    type: row.type,
    lane: LANES[row.lane],
    effect: row.effect,
    state: row.quarantine === null ? 'accepted' : 'quarantined',
    quarantine: row.quarantine,
    source: { id: row.source_id, name: row.source_name, issuer: row.source_issuer, jti: row.source_jti },
    accepted_at: toTimestamp(row.accepted_ms),
    event_timestamp: row.event_ms === null ? null : Math.floor(row.event_ms / 1000),
    sub_id: content?.sub_id ?? null,
    claims: content?.claims ?? null,
    content: content === undefined ? 'unreadable' : 'readable',
  }
}
