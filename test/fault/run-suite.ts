import { execFileSync } from 'node:child_process'
import type { WriteStream } from 'node:tty'
import { ROOT } from '../support/source-files.js'
import { progressLine, type SuiteReport } from './report.js'
import type { FaultRig } from './rig.js'
import type { Row, RowReport } from './row.js'
import { runRow } from './run-row.js'

export interface SuiteOptions {
  readonly rows: readonly Row[]
  readonly seed: number
  readonly scale: number
}

export interface RunningSuite {
  readonly ended: Promise<SuiteReport>
  /** Ends what its rows have started. */
  close(): Promise<unknown>
}

/** From this scale on, rows that mostly wait run beside the others: together they would take half an hour. */
const BESIDE_FROM = 0.5

/** Runs the rows in their order, and tells of each as it ends. */
export function startSuite(options: SuiteOptions, out: WriteStream): RunningSuite {
  const { rows, seed, scale } = options
  const rigs = new Set<FaultRig>()
  let closing = false
  const start = (row: Row): Promise<RowReport> =>
    runRow(row, { seed, scale, onRig: (rig) => void rigs.add(rig) })

  async function run(): Promise<SuiteReport> {
    out.write(`fault suite: ${rows.length} rows, seed ${seed}, scale ${scale}\n`)
    // As it is now: a run is long, and sources change.
    const commit = commitOf()
    const waiting = scale < BESIDE_FROM ? [] : rows.filter(({ waits }) => waits)
    const beside = new Map(waiting.map((row) => [row, start(row)]))
    const reports: RowReport[] = []
    for (const [index, row] of rows.entries()) {
      if (closing) break
      if (out.isTTY) out.write(`${index + 1}/${rows.length} ${row.id} ${row.title} …`)
      const report = await (beside.get(row) ?? start(row))
      reports.push(report)
      if (out.isTTY) out.write('\r\u001b[2K')
      out.write(`${progressLine(report, out.isTTY === true && out.hasColors())}\n`)
      if (!report.ok)
        out.write(`     alone: npm run fault -- --rows ${row.id} --seed ${seed} --scale ${scale}\n`)
    }
    return { seed, scale, commit, rows: reports }
  }

  return {
    ended: run(),
    close() {
      closing = true
      return Promise.all([...rigs].map((rig) => rig.close()))
    },
  }
}

function commitOf(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim()
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain') ? ' with changes' : '')
  } catch {
    return 'unknown'
  }
}
