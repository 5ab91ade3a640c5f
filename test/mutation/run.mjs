// `npm run mutate [-- room ...]`: changes one thing at a time in the rooms that hold protocol rules, and runs the tests
// that reach it. Prints how many of the changes each room's tests noticed; less than 85 of 100 in all is a failure.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ROOMS } from './rooms.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))
const ROOT = join(HERE, '..', '..')
const STRYKER = join(HERE, 'node_modules', '@stryker-mutator', 'core', 'bin', 'stryker.js')
const AIM = 85

/** @returns {{ name: string, noticed: number, survived: number, unreached: number, timeouts: number } | undefined} */
function outcomeOf(name) {
  const report = join(ROOT, '.cache', 'mutation', `${name}.json`)
  if (!existsSync(report)) return undefined
  const mutants = Object.values(JSON.parse(readFileSync(report, 'utf8')).files).flatMap(
    (file) => file.mutants,
  )
  const count = (...states) => mutants.filter(({ status }) => states.includes(status)).length
  return {
    name,
    noticed: count('Killed', 'Timeout'),
    timeouts: count('Timeout'),
    survived: count('Survived'),
    unreached: count('NoCoverage'),
  }
}

function row({ name, noticed, timeouts, survived, unreached }) {
  const all = noticed + survived + unreached
  const share = `${((100 * noticed) / all).toFixed(1)} %`
  return `| ${[name, all, noticed, timeouts, survived, unreached, share].join(' | ')} |`
}

const asked = process.argv.slice(2)
const unknown = asked.find((name) => !(name in ROOMS))
if (unknown !== undefined) {
  console.error(`no room "${unknown}"; say ${Object.keys(ROOMS).join(', ')}, or nothing for all`)
  process.exit(2)
}
// Processes of mutants come and go; their server stays, and ends with this process. Databases are made and dropped
// thousands of times: in memory where there is some.
if (existsSync('/dev/shm')) process.env.TMPDIR = '/dev/shm'
const { startTemplateServer } = await import('../../dist/test/support/postgres.js')
const postgres = await startTemplateServer()
for (const room of asked.length > 0 ? asked : Object.keys(ROOMS)) {
  const { status } = spawnSync(process.execPath, [STRYKER, 'run', join(HERE, 'stryker.config.mjs')], {
    cwd: ROOT,
    env: { ...process.env, MUTATION_ROOM: room, MUTATION_POSTGRES: postgres.url },
    stdio: 'inherit',
  })
  if (status !== 0) process.exit(status ?? 1)
}
await postgres.remove()
const outcomes = Object.keys(ROOMS).flatMap((room) => outcomeOf(room) ?? [])
const sum = (key) => outcomes.reduce((total, outcome) => total + outcome[key], 0)
const all = {
  name: 'all',
  ...Object.fromEntries(['noticed', 'timeouts', 'survived', 'unreached'].map((k) => [k, sum(k)])),
}
console.log(
  '\n| Room | Mutants | Noticed | of them by a time-out | Survived | Not reached | Noticed of all |',
)
console.log('|---|---|---|---|---|---|---|')
for (const outcome of [...outcomes, all]) console.log(row(outcome))
if ((100 * all.noticed) / (all.noticed + all.survived + all.unreached) < AIM) {
  console.error(`fewer than ${AIM} % were noticed: the reports are .cache/mutation/<room>.html`)
  process.exitCode = 1
}
