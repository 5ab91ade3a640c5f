import { InvalidArgumentError } from 'commander'

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/
const TIMESTAMP = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/

/** `1.5s`, `15m`, `2h`, `7d` → milliseconds. */
export function parseDuration(text: string): number {
  const match = DURATION.exec(text)
  if (!match) throw new InvalidArgumentError('Write a duration such as 500ms, 10s, 15m, 2h or 7d.')
  return Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 1)
}

/** A length of time before now (`15m`), a date, or an RFC 3339 time → RFC 3339 in UTC. */
export function parsePast(text: string): string {
  return parseTime(text, -1)
}

/** A length of time from now (`90d`), a date, or an RFC 3339 time → RFC 3339 in UTC. */
export function parseFuture(text: string): string {
  return parseTime(text, 1)
}

function parseTime(text: string, direction: 1 | -1): string {
  if (DURATION.test(text)) return new Date(Date.now() + direction * parseDuration(text)).toISOString()
  const ms = TIMESTAMP.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) {
    throw new InvalidArgumentError(
      'Write a time such as 2026-01-31T10:00:00Z, a date, or a duration such as 15m.',
    )
  }
  return new Date(ms).toISOString()
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('Write a whole number from 1 to 9999999.')
  return Number(text)
}

/** For options that may be given more than once, or with commas. */
export function collect(text: string, before: string[] = []): string[] {
  const parts = text.split(',').map((part) => part.trim())
  if (parts.some((part) => part === '')) throw new InvalidArgumentError('An empty value is not allowed.')
  return [...before, ...parts]
}
