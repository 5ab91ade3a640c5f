import type { RowReport } from './row.js'

export interface SuiteReport {
  readonly seed: number
  readonly scale: number
  readonly commit: string
  readonly rows: readonly RowReport[]
}

const seconds = (ms: number | undefined): string =>
  ms === undefined ? '–' : ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(1)} s`

/** For a terminal: one line per row. */
export function progressLine(report: RowReport, colours: boolean): string {
  const paint = (code: number, text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text)
  const mark = report.skipped ? paint(33, 'skip') : report.ok ? paint(32, 'pass') : paint(31, 'FAIL')
  const took = seconds(report.tookMs).padStart(7)
  return `${mark} ${report.id.padEnd(4)}${took}  ${report.title}${report.ok && !report.skipped ? '' : `\n     ${report.seen}`}`
}

/** The same figures for all rows, in columns. */
export function table({ rows }: SuiteReport): string {
  const head = [
    'row',
    'ok',
    'SETs',
    'lost',
    'repeats',
    'p50',
    'p99',
    'max',
    'recovered',
    'RSS',
    'lag',
    'took',
  ]
  const lines = rows.map((row) => [
    row.id,
    row.skipped ? 'skipped' : row.ok ? 'yes' : 'NO',
    String(row.accepted),
    String(row.lost),
    String(row.repeats),
    seconds(row.p50Ms),
    seconds(row.p99Ms),
    seconds(row.maxMs),
    seconds(row.recoveryMs),
    row.rssMiB === undefined ? '–' : `${row.rssMiB} MiB`,
    seconds(row.loopLagMs),
    seconds(row.tookMs),
  ])
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => (line[column] as string).length)),
  )
  const show = (line: readonly string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] as number))
      .join('  ')
      .trimEnd()
  return [show(head), ...lines.map(show)].join('\n')
}

const cell = (text: string): string => text.replace(/\s+/g, ' ').replaceAll('|', '\\|')

/** docs/faults.md: what was broken, what had to hold, what was seen. */
export function toMarkdown(report: SuiteReport): string {
  const { rows, seed, scale, commit } = report
  const passed = rows.filter(({ ok, skipped }) => ok && !skipped).length
  return `# Faults

What Firebreak survives, written by \`npm run fault\` ([test/fault/README.md](../test/fault/README.md) tells how to run and read it).
${passed} of ${rows.length} rows held. Seed ${seed}, commit ${commit}, scale ${scale} of the durations that the faults are told with (1: as told).

p50, p99 and max are times to revoke during the fault: from the first push of a SET to its arrival at an endpoint, seen
from outside, retries of the sender included. Recovered: when the last SET of before the end of the fault had arrived.

| Row | Fault | Expected | Seen | SETs | Lost | Repeats | p50 | p99 | max | Recovered |
|---|---|---|---|---|---|---|---|---|---|---|
${rows
  .map(
    (row) =>
      `| ${row.id} | ${cell(row.title)} | ${cell(row.expected)} | ${row.skipped ? '**not run**: ' : row.ok ? '' : '**failed**: '}${cell(row.seen)} | ${row.accepted} | ${row.lost} | ${row.repeats} | ${seconds(row.p50Ms)} | ${seconds(row.p99Ms)} | ${seconds(row.maxMs)} | ${seconds(row.recoveryMs)} |`,
  )
  .join('\n')}
`
}
