import { type Command, InvalidArgumentError, Option } from 'commander'
import { apiPath } from './api-client.js'
import { ObjectiveMissed } from './cli-errors.js'
import { type CliIo, paint } from './cli-io.js'
import { type Cli, examples, withApi } from './command.js'
import { type Column, cellText, renderTable } from './table.js'
import { collect, parsePast } from './time-option.js'

const GROUPS = ['stream', 'event_type', 'source', 'point']
const STAGES = ['received', 'applied', 'verified']

/** One row of `GET /v1/time-to-revoke`; a null quantile lies in the outstanding part: it is infinite. */
export interface TimeToRevokeRow extends Record<string, unknown> {
  count: number
  pending: number
  outstanding: number
  p50_ms: number | null
  p90_ms: number | null
  p99_ms: number | null
  max_ms: number | null
  not_applicable?: number
  superseded?: number
  paused?: number
  deleted?: number
}

interface Options {
  from?: string
  to?: string
  stage: string
  groupBy?: string[]
  slo?: number
}

/** How long a revocation took, by stage; with `--slo` the exit code says whether p99 kept it. */
export function addTimeToRevokeCommand(cli: Cli, program: Command): void {
  const command = program
    .command('time-to-revoke')
    .description('from the event to received, applied or verified')
    .option('--from <time>', 'events accepted since: a time, or 24h', parsePast)
    .option('--to <time>', 'events accepted before', parsePast)
    .addOption(new Option('--stage <stage>', 'what counts as done').choices(STAGES).default('received'))
    .option('--group-by <groups>', `one or more of ${GROUPS.join(', ')}, with commas`, parseGroups)
    .option('--slo <ms>', 'exit 4 when a p99 is above this many milliseconds, or never came', parseMs)
  examples(command, [
    'time-to-revoke --from 24h --group-by point',
    'time-to-revoke --from 7d --stage applied --group-by event_type,source --json',
    'time-to-revoke --from 15m --stage applied --slo 2000',
  ])
  withApi<Options>(cli, command, async ({ api, io, print }, { from, to, stage, groupBy, slo }) => {
    const query = { from, to, stage, group_by: groupBy?.join(',') }
    const answer = await api.get<{ items: TimeToRevokeRow[] }>(apiPath('time-to-revoke'), query)
    print(answer, () => rowTable(io, answer.items, { groups: groupBy ?? [], slo }))
    if (slo !== undefined) checkObjective(io, answer.items, { stage, slo })
  })
}

function parseGroups(text: string, before?: string[]): string[] {
  const groups = collect(text, before)
  const unknown = groups.filter((group) => !GROUPS.includes(group))
  if (unknown.length > 0) throw new InvalidArgumentError(`Choose from ${GROUPS.join(', ')}.`)
  return groups
}

function parseMs(text: string): number {
  if (!/^\d+(?:\.\d+)?$/.test(text))
    throw new InvalidArgumentError('Write a number of milliseconds, such as 2000.')
  return Number(text)
}

/** Younger than the deadline is not yet missed; a p99 among the outstanding ones is. */
function misses(row: TimeToRevokeRow, sloMs: number): boolean {
  return row.p99_ms === null ? row.outstanding > 0 : row.p99_ms > sloMs
}

function checkObjective(io: CliIo, rows: TimeToRevokeRow[], objective: { stage: string; slo: number }): void {
  const missed = rows.filter((row) => misses(row, objective.slo)).length
  if (missed > 0) {
    const which = rows.length === 1 ? '' : ` in ${missed} of ${rows.length} rows`
    throw new ObjectiveMissed(
      `the objective was missed${which}: p99 of ${objective.stage} is above ${objective.slo} ms`,
    )
  }
  if (rows.every((row) => row.count === 0))
    io.err('no revocation was expected in this window: the objective is not tested\n')
}

function rowTable(
  io: CliIo,
  rows: TimeToRevokeRow[],
  options: { groups: string[]; slo: number | undefined },
): string {
  if (rows.length === 0) return 'no revocation in this window\n'
  const quantile = (name: 'p50_ms' | 'p90_ms' | 'p99_ms' | 'max_ms'): Column<TimeToRevokeRow> => ({
    title: name.replace('_', ' ').toUpperCase(),
    // The API's maximum is of those that came; what never came is the longest of all.
    value: (row) => quantileText(row, name === 'max_ms' && row.outstanding > 0 ? null : row[name]),
    align: 'right',
    ...(name === 'p99_ms' &&
      options.slo !== undefined && {
        paint: (text: string, row: TimeToRevokeRow) =>
          paint(io, misses(row, options.slo ?? 0) ? 'red' : 'green', text),
      }),
  })
  const count = (title: string, value: (row: TimeToRevokeRow) => unknown): Column<TimeToRevokeRow> => ({
    title,
    value,
    align: 'right',
  })
  return renderTable(
    [
      ...options.groups.map((group) => ({
        title: group.replace('_', ' ').toUpperCase(),
        value: (row: TimeToRevokeRow) => groupText(row, group),
      })),
      count('EXPECTED', (row) => row.count),
      count('PENDING', (row) => row.pending),
      count('OUTSTANDING', (row) => row.outstanding),
      quantile('p50_ms'),
      quantile('p90_ms'),
      quantile('p99_ms'),
      quantile('max_ms'),
      count('N/A', (row) => row.not_applicable),
      count('SUPERSEDED', (row) => row.superseded),
      count('PAUSED', (row) => row.paused),
      count('DELETED', (row) => row.deleted),
    ],
    rows,
  )
}

/** A source and a point are an id with a name; a stream is an id. */
function groupText(row: TimeToRevokeRow, group: string): string {
  const value = group === 'stream' ? row.stream_id : row[group]
  if (typeof value !== 'object' || value === null) return cellText(value)
  const { id, name } = value as { id?: unknown; name?: unknown }
  return cellText(name ?? id)
}

function quantileText(row: TimeToRevokeRow, value: number | null): string {
  if (value !== null && value !== undefined) return value.toFixed(value < 10 ? 1 : 0)
  return row.outstanding > 0 ? '∞' : '-'
}
