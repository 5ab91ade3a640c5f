import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import type { DemoResult, PointResult } from '../demo/demo-result.js'
import { runDemo } from '../demo/run-demo.js'
import { CommandFailed } from './cli-errors.js'
import { type CliIo, paint, WIPE_LINE, withProgress } from './cli-io.js'
import { type Cli, examples } from './command.js'
import { type Column, renderTable } from './table.js'

const HUB_ENTRY = fileURLToPath(new URL('../main.js', import.meta.url))

/** A hub, an identity provider and three enforcement points of their own, and one revocation. */
export function addDemoCommand(cli: Cli, program: Command): void {
  const command = program
    .command('demo')
    .description('see one session revoked at three enforcement points, on a hub that exists only for this')
    .option('--json', 'print the result as JSON')
  examples(command, ['demo', 'demo --json | jq .points']).action(async (options: { json?: boolean }) => {
    const { io } = cli
    // Steps are an answer for people and progress for machines.
    const say = (text: string) => {
      if (io.progress) io.err(WIPE_LINE)
      if (options.json) io.err(text)
      else io.out(text)
    }
    const result = await runDemo({
      hubEntry: HUB_ENTRY,
      environment: cli.hooks.environment,
      signal: cli.interruptible(),
      step: (label, work) => showStep(io, { label, work, say }),
      note: (text) => say(`  ${text}\n`),
    })
    if (options.json) io.out(`${JSON.stringify(result, null, 2)}\n`)
    else io.out(resultText(io, result))
    if (!result.ok) throw new CommandFailed(`the demo did not succeed: ${result.problems.join('; ')}`)
  })
}

async function showStep<T>(
  io: CliIo,
  { label, work, say }: { label: string; work: () => Promise<T>; say(text: string): void },
): Promise<T> {
  const startedAt = performance.now()
  const value = await withProgress(io, label, work())
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  say(`${paint(io, 'green', '✓')} ${label} ${paint(io, 'grey', `(${seconds} s)`)}\n`)
  return value
}

function resultText(io: CliIo, result: DemoResult): string {
  const status = (
    title: string,
    value: (row: PointResult) => number,
    wanted: number,
  ): Column<PointResult> => ({
    title,
    value,
    align: 'right',
    paint: (text, row) => paint(io, value(row) === wanted ? 'green' : 'red', text),
  })
  const ms = (title: string, value: (row: PointResult) => number | null): Column<PointResult> => ({
    title,
    value: (row) => value(row)?.toFixed(0) ?? 'never',
    align: 'right',
  })
  const table = renderTable(
    [
      { title: 'POINT', value: (row: PointResult) => row.name },
      { title: 'BY', value: (row: PointResult) => row.method },
      status('BEFORE', (row) => row.access_before, 200),
      status('AFTER', (row) => row.access_after, 401),
      ms('REFUSED AFTER MS', (row) => row.refused_after_ms),
      ms('RECEIVED MS', (row) => row.received_ms),
      ms('APPLIED MS', (row) => row.applied_ms),
      status('OTHER SESSION', (row) => row.other_session_after, 200),
    ],
    result.points,
  )
  const legend =
    'refused after: from the decision, seen from outside · received, applied: time to revoke, measured by the hub'
  const total = `done in ${(result.total_ms / 1000).toFixed(1)} s, nothing left behind`
  return `\n${table}\n${paint(io, 'grey', legend)}\n${result.ok ? `${total}\n` : ''}`
}
