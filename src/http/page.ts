import { InvalidRequest } from '../kernel/errors.js'
import { isUuid } from './params.js'
import { parseQuery } from './validate.js'

/** A list as every `/v1` route answers it; `next` is null on the last page. */
export interface Page<T> {
  items: T[]
  next: string | null
}

export interface PageRequest {
  limit: number
  /** Sort keys of the last item of the page before; absent on the first page. */
  after?: string[]
}

const DEFAULT_LIMIT = 100

/** Properties to spread into a list route's own query schema. */
export const PAGE_PROPERTIES = {
  limit: { type: 'integer', minimum: 1, maximum: 1000 },
  cursor: { type: 'string', maxLength: 1000 },
} as const

/** The query of a list that takes nothing else. */
export const PAGE_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: PAGE_PROPERTIES,
} as const

/**
 * Reads `limit` (1 to 1000) and `cursor` from a query.
 * @param keys how many sort keys the list's cursor holds
 * @param schema of the whole query; holds PAGE_PROPERTIES
 */
export function parsePage(query: unknown, keys: number, schema: object = PAGE_QUERY): PageRequest {
  const { limit, cursor } = parseQuery<{ limit?: number; cursor?: string }>(schema, query)
  const request: PageRequest = { limit: limit ?? DEFAULT_LIMIT }
  if (cursor !== undefined) request.after = decodeCursor(cursor, keys)
  return request
}

/**
 * Makes the answer from `limit + 1` rows that were asked for: the extra row only shows that more follow.
 * @param keysOf the sort keys of a row, as text
 */
export function toPage<R, T>(
  rows: readonly R[],
  limit: number,
  use: { keysOf(row: R): string[]; render(row: R): T },
): Page<T> {
  const shown = rows.slice(0, limit)
  const last = rows.length > limit ? shown.at(-1) : undefined
  return {
    items: shown.map((row) => use.render(row)),
    next: last === undefined ? null : encodeCursor(use.keysOf(last)),
  }
}

/** Opaque to callers, not secret and not trusted: each list checks the keys it gets back. */
export function encodeCursor(keys: readonly string[]): string {
  return Buffer.from(JSON.stringify(keys)).toString('base64url')
}

/** @throws InvalidRequest when the text is not a cursor of this many keys */
export function decodeCursor(cursor: string, keys: number): string[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (Array.isArray(value) && value.length === keys && value.every(isKey)) return value
  } catch {
    // Not JSON: the same answer as any other text that no page gave out.
  }
  throw notOurs()
}

/** As PostgreSQL and toISOString write a time; Date.parse alone takes far more than the database does. */
const TIME = /^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d(:\d\d)?)$/

/** A cursor of a list in order of time. */
export interface TimeCursor {
  readonly at: string
  readonly id: string
}

/** @throws InvalidRequest when the keys are not a time and an id, as no list of ours gave out */
export function toTimeCursor(after: readonly string[] | undefined): TimeCursor | undefined {
  if (!after) return undefined
  const [at = '', id = ''] = after
  if (!TIME.test(at) || Number.isNaN(Date.parse(at)) || !isUuid(id)) throw notOurs()
  return { at, id }
}

function notOurs(): InvalidRequest {
  return new InvalidRequest(
    'The cursor was not given by this list; leave it out to start from the beginning.',
  )
}

function isKey(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0')
}
