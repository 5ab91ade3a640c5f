import { PAGE_PROPERTIES, type PageRequest, parsePage } from '../http/page.js'
import { isUuid } from '../http/params.js'
import { parseQuery, parseTime } from '../http/validate.js'
import { InvalidRequest } from '../kernel/errors.js'
import { joinSql, literalSql, type Sql, sql } from './sql-fragment.js'

/** What `GET /v1/deliveries` and `GET /v1/events` filter by; times bound the accept time, the end excluded. */
export interface HistoryFilter<S extends string> extends PageRequest {
  txn?: string
  streamId?: string
  type?: string
  state?: S
  fromMs?: number
  toMs?: number
}

interface RawQuery<S extends string> {
  txn?: string
  stream_id?: string
  type?: string
  state?: S
  from?: string
  to?: string
}

/** The query of one list. */
export function historySchema(states: readonly string[]) {
  return {
    type: 'object',
    additionalProperties: false,
    properties: {
      txn: { type: 'string', minLength: 1, maxLength: 1_000 },
      stream_id: { type: 'string', format: 'uuid' },
      type: { type: 'string', minLength: 1, maxLength: 1_000 },
      state: { enum: states },
      from: { type: 'string' },
      to: { type: 'string' },
      ...PAGE_PROPERTIES,
    },
  }
}

/** Makes the reader of one list's query; the schema is compiled once. @throws InvalidRequest */
export function historyQuery<S extends string>(states: readonly S[], cursorKeys: number) {
  const schema = historySchema(states)
  return (query: unknown): HistoryFilter<S> => {
    const raw = parseQuery<RawQuery<S>>(schema, query)
    // In a query of a URL: %00.
    if (raw.txn?.includes('\0') || raw.type?.includes('\0')) {
      throw new InvalidRequest('txn and type must not hold U+0000; remove it.')
    }
    const filter: HistoryFilter<S> = {
      ...parsePage(query, cursorKeys, schema),
      ...(raw.txn !== undefined && { txn: raw.txn }),
      ...(raw.stream_id !== undefined && { streamId: raw.stream_id.toLowerCase() }),
      ...(raw.type !== undefined && { type: raw.type }),
      ...(raw.state !== undefined && { state: raw.state }),
      ...(raw.from !== undefined && { fromMs: parseTime('from', raw.from).getTime() }),
      ...(raw.to !== undefined && { toMs: parseTime('to', raw.to).getTime() }),
    }
    if (filter.fromMs !== undefined && filter.toMs !== undefined && filter.fromMs >= filter.toMs) {
      throw new InvalidRequest('from must be before to.')
    }
    return filter
  }
}

export const atMs = (ms: number): Sql => sql`to_timestamp(${ms}::float8 / 1000)`

/** Conditions on columns that all history tables share and index; `day` prunes partitions. */
export function sharedConditions(filter: HistoryFilter<string>, column: (name: string) => string): Sql[] {
  const named = (name: string) => literalSql(column(name))
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)
  const conditions: Sql[] = []
  if (filter.type !== undefined) conditions.push(sql`${named('type')} = ${filter.type}::text`)
  if (filter.fromMs !== undefined) {
    conditions.push(sql`${named('accepted_at')} >= ${atMs(filter.fromMs)}`)
    conditions.push(sql`${named('day')} >= ${day(filter.fromMs)}::date`)
  }
  if (filter.toMs !== undefined) {
    conditions.push(sql`${named('accepted_at')} < ${atMs(filter.toMs)}`)
    conditions.push(sql`${named('day')} <= ${day(filter.toMs)}::date`)
  }
  return conditions
}

export const whereSql = (conditions: readonly Sql[]): Sql =>
  conditions.length === 0 ? literalSql('') : sql`where ${joinSql(conditions, ' and ')}`

/** @throws InvalidRequest when a cursor's key is not what this list gives out */
export function cursorUuid(key: string | undefined): string {
  if (isUuid(key)) return key
  throw foreignCursor()
}

/** Microseconds since the epoch, as text. */
export function cursorMicros(key: string | undefined): string {
  if (key !== undefined && /^\d{1,17}$/.test(key)) return key
  throw foreignCursor()
}

const foreignCursor = () =>
  new InvalidRequest('The cursor was not given by this list; leave it out to start from the beginning.')
