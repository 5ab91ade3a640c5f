import { InvalidRequest } from '../kernel/errors.js'

const RFC_3339 = /^(\d{4})-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/

/**
 * Reads an RFC 3339 time of a query.
 * @returns ms since the epoch
 * @throws InvalidRequest naming the parameter and what to write
 */
export function parseTime(name: string, text: string): number {
  const match = RFC_3339.exec(text)
  const ms = match ? Date.parse(text.toUpperCase()) : Number.NaN
  const year = Number(match?.[1])
  // Postgres and Date agree on these years; what lies outside is a slip of the keyboard.
  if (Number.isFinite(ms) && year >= 1970 && year < 3000 && readsBack(text, ms)) return ms
  throw new InvalidRequest(
    `${name} must be an RFC 3339 time such as 2026-11-22T08:00:00.000Z (write a + as %2B).`,
  )
}

/** 2026-02-31 parses as 3 March: the day must come back as it was written. */
function readsBack(text: string, ms: number): boolean {
  const offset = /([+-])(\d{2}):(\d{2})$/.exec(text)
  const shiftMs = offset
    ? (offset[1] === '-' ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3])) * 60_000
    : 0
  return new Date(ms + shiftMs).toISOString().slice(0, 10) === text.slice(0, 10)
}
