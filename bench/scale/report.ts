import { availableParallelism } from 'node:os'
import type { ScaleResult, StageResult } from './run.js'

interface Line {
  readonly label: string
  readonly names: readonly string[]
  readonly digits: number
}

const line = (label: string, names: string | readonly string[], digits = 1): Line => ({
  label,
  names: typeof names === 'string' ? [names] : names,
  digits,
})

/** In the order of an event's way; several figures of one line stand side by side. */
const LINES: readonly Line[] = [
  line('start of a hub until ready, ms', 'start_ms', 0),
  line(
    'match one event: by type / simple subject / complex subject / nobody, ms',
    ['match_type_ms', 'match_simple_ms', 'match_complex_ms', 'match_nobody_ms'],
    2,
  ),
  line('the same, CPU of PostgreSQL, ms', 'match_postgres_cpu_ms', 2),
  line('event → one endpoint by type, p50 / p99, ms', ['one_p50_ms', 'one_p99_ms']),
  line('event → one endpoint by filter, p50 / p99, ms', ['filter_p50_ms', 'filter_p99_ms']),
  line('CPU of one such event: hub / PostgreSQL, ms', ['event_hub_cpu_ms', 'event_postgres_cpu_ms'], 2),
  line('event → every stream: push endpoints', 'all_push_streams', 0),
  line('first / half / last of them, ms', ['all_first_ms', 'all_p50_ms', 'all_last_ms'], 0),
  line('CPU per delivery: hub / PostgreSQL, µs', ['all_hub_cpu_us', 'all_postgres_cpu_us'], 0),
  line('poll of 100 with 100 acks, ms', 'poll_100_ms'),
  line('takeover after SIGKILL, slowest of 32 streams, s', 'takeover_worst_s'),
  line('hub after all this: RSS / heap used, MB', ['rss_mb', 'heap_mb'], 0),
  line('`/health/ready` / `/metrics`, ms', ['ready_ms', 'metrics_ms']),
  line('first page of transmitters / receivers / streams, ms', [
    'list_transmitters_ms',
    'list_receivers_ms',
    'list_streams_ms',
  ]),
  line('first page of events / deliveries / queued deliveries, ms', [
    'list_events_ms',
    'list_deliveries_ms',
    'list_queued_ms',
  ]),
  line('first page of parked / alerts / audit, ms', ['list_parked_ms', 'list_alerts_ms', 'list_audit_ms']),
  line('time to revoke by stream, last 24 h, ms', 'time_to_revoke_ms'),
  line('hourly upkeep with a day to drop, ms', 'upkeep_ms', 0),
]

const spell = (count: number): string => count.toLocaleString('en-US')

const columnOf = ({ size }: StageResult): string =>
  `${spell(size.streams)} streams, ${spell(size.subjects)} subjects, ${spell(size.open)} open`

/** In Markdown, a column for each size. */
export function renderScale({ stages }: ScaleResult): string {
  const header = ['', ...stages.map(columnOf)]
  const rows = LINES.map(({ label, names, digits }) => [
    label,
    ...stages.map(({ figures }) =>
      names.map((name) => (figures[name] ?? Number.NaN).toFixed(digits)).join(' / '),
    ),
  ])
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

export function renderScaleNotes({ options, lost, repeats }: ScaleResult): string {
  const cores = availableParallelism()
  return [
    `- \`npm run bench -- scale\`: ${cores} cores that source, endpoints, hub and PostgreSQL share; Node ${process.versions.node}; heap of each hub at most ${options.heapMb} MB.`,
    `- Lost: ${lost}. SETs that came twice, over all kills: ${repeats}.`,
  ].join('\n')
}

/** What cost the database most at each size. */
export function renderStatements(stages: readonly StageResult[]): string {
  return stages
    .map((stage) =>
      [
        `${columnOf(stage)}:`,
        '  calls   mean ms     rows    pages  statement',
        ...stage.statements.map(
          ({ calls, meanMs, rowsPerCall, pagesPerCall, text }) =>
            `${String(calls).padStart(7)} ${meanMs.toFixed(2).padStart(9)} ${rowsPerCall.toFixed(1).padStart(8)} ${pagesPerCall.toFixed(0).padStart(8)}  ${text.slice(0, 160)}`,
        ),
      ].join('\n'),
    )
    .join('\n\n')
}
