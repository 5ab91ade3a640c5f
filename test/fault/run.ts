import { randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../support/source-files.js'
import { table, toMarkdown } from './report.js'
import type { Row } from './row.js'
import { ROWS } from './rows.js'
import { startSuite } from './run-suite.js'

const USAGE = `npm run fault [-- options]

  --rows C2,K1   only these rows, or all of a letter: --rows C,K1
  --seed N       repeat a run (default: another one each time)
  --scale X      durations as a part of those of the catalogue (default 0.05)
  --full         scale 1, and write docs/faults.md when all rows are run
  --write        write docs/faults.md at another scale, or of these rows
  --json         print the report as JSON, and progress on standard error
  --list         print the rows

exit 0 all rows held, 1 a row failed, 2 wrong use, 130 interrupted
`

interface Wanted {
  readonly rows: readonly Row[]
  readonly seed: number
  readonly scale: number
  readonly write: boolean
  readonly json: boolean
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

class WrongUse extends Error {}

function readArguments(args: string[]): Wanted | 'help' | 'list' {
  let values: ReturnType<typeof parse>['values']
  try {
    values = parse(args).values
  } catch (error) {
    throw new WrongUse(error instanceof Error ? error.message : String(error))
  }
  if (values.help) return 'help'
  if (values.list) return 'list'
  const scale = values.full ? 1 : Number(values.scale ?? '0.05')
  if (!(scale > 0 && scale <= 1)) throw new WrongUse('--scale: write a number above 0, at most 1')
  const seed = values.seed === undefined ? randomInt(1, 1_000_000) : Number(values.seed)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new WrongUse('--seed: write a whole number')
  return {
    rows: pick(values.rows),
    seed,
    scale,
    // Never a table of a few rows where the whole one stands, unless it is asked for.
    write: values.write ?? (values.full === true && values.rows === undefined),
    json: values.json ?? false,
  }
}

const parse = (args: string[]) =>
  parseArgs({
    args,
    options: {
      rows: { type: 'string' },
      seed: { type: 'string' },
      scale: { type: 'string' },
      full: { type: 'boolean' },
      write: { type: 'boolean' },
      json: { type: 'boolean' },
      list: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })

function pick(text: string | undefined): readonly Row[] {
  if (text === undefined) return ROWS
  const names = text
    .split(',')
    .map((name) => name.trim().toUpperCase())
    .filter(Boolean)
  const isNamed = (row: Row, name: string) =>
    row.id.toUpperCase() === name || /^[A-Z]+/.exec(row.id)?.[0] === name
  const unknown = names.filter((name) => !ROWS.some((row) => isNamed(row, name)))
  if (unknown.length > 0 || names.length === 0) {
    throw new WrongUse(`--rows: there is no ${unknown.join(', ') || 'row named'}; --list shows all`)
  }
  return ROWS.filter((row) => names.some((name) => isNamed(row, name)))
}

async function run(wanted: Wanted): Promise<number> {
  const { json } = wanted
  const out = json ? process.stderr : process.stdout
  const say = (text: string) => void out.write(`${text}\n`)
  const running = startSuite(wanted, out)
  let ending: Promise<unknown> | undefined
  const onSignal = () => {
    for (const signal of SIGNALS) process.off(signal, onSignal)
    say('\ninterrupted; ending what was started (again: at once)')
    ending = running.close()
    void ending.finally(() => process.exit(130))
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  const suite = await running.ended
  // What it was kept from it did not fail at, and nobody shall write of it.
  if (ending) return await ending.then(() => 130)
  const failed = suite.rows.filter(({ ok }) => !ok).length
  const skipped = suite.rows.filter((report) => report.skipped).length
  const held = suite.rows.length - failed - skipped
  say(`\n${table(suite)}\n\n${held} held, ${failed} failed, ${skipped} skipped; seed ${suite.seed}`)
  if (json) process.stdout.write(`${JSON.stringify(suite, null, 2)}\n`)
  if (wanted.write) {
    writeFileSync(join(ROOT, 'docs', 'faults.md'), toMarkdown(suite))
    say('written: docs/faults.md')
  }
  return failed === 0 ? 0 : 1
}

try {
  const wanted = readArguments(process.argv.slice(2))
  if (wanted === 'help') process.stdout.write(USAGE)
  else if (wanted === 'list') for (const { id, title } of ROWS) console.log(`${id.padEnd(4)} ${title}`)
  else {
    const code = await run(wanted)
    // The servers that rows share end with this process: their watchdogs see to that.
    process.exit(code)
  }
} catch (error) {
  if (!(error instanceof WrongUse)) throw error
  process.stderr.write(`${error.message}\n\n${USAGE}`)
  process.exit(2)
}
