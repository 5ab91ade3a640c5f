import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { exitOf, type HubProcess, plainEnvironment, startHub } from '../support/hub-process.js'
import { ROOT, readText } from '../support/source-files.js'

const BLOCK = /<!-- walkthrough -->\n```sh\n([\s\S]*?)```\n<!-- \/walkthrough -->/g
const START = /^(FIREBREAK_[A-Z_]+)=(\S+) npm start$/m
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

interface Row {
  point: { name: string }
  count: number
  pending: number
  outstanding: number
  p50_ms: number | null
}

describe("the README's walk-through", function () {
  this.timeout(120_000)
  const readme = readText('README.md')
  const blocks = [...readme.matchAll(BLOCK)].map((match) => match[1] as string)
  let hub: HubProcess
  let output: string

  before(async () => {
    const [, name = '', value = ''] = START.exec(readme) ?? []
    hub = await startHub({ env: { [name]: value, FIREBREAK_ADMIN_TOKEN: '' } })
    output = await runInOneShell(blocks, hub)
  })
  after(() => hub?.remove())

  it('needs nothing but curl, node and jose', () => {
    assert.equal(blocks.length, 6)
    const packages = [...blocks.join('').matchAll(/from '([^.'][^']*)'/g)].map((match) => match[1] as string)
    assert.deepEqual([...new Set(packages.filter((each) => !each.startsWith('node:')))], ['jose'])
  })

  it('has the SET accepted, and shows it verified at the polling receiver', () => {
    assert.match(output, /^202$/m)
    const claims = jsonLines(output).find((line) => 'jti' in line) as Record<string, unknown>
    assert.deepEqual(claims.sub_id, { format: 'email', email: 'alice@example.com' })
    assert.deepEqual(Object.keys(claims.events as object), [REVOKED])
    assert.equal(claims.iss, hub.url)
  })

  it('has both receivers recorded as applied', () => {
    const reports = jsonLines(output).flatMap((line) => (line.results as { result: string }[]) ?? [])
    assert.deepEqual(
      reports.map(({ result }) => result),
      ['recorded', 'recorded'],
    )
  })

  for (const stage of ['received', 'applied']) {
    it(`ends with the time to revoke of both points, ${stage}`, () => {
      const answer = jsonLines(output).find((line) => line.stage === stage) as { items: Row[] } | undefined
      const rows = answer?.items.filter(({ count }) => count > 0) ?? []
      assert.deepEqual(rows.map(({ point }) => point.name).sort(), ['broker', 'gateway'])
      for (const row of rows) {
        assert.deepEqual([row.count, row.pending, row.outstanding], [1, 0, 0])
        assert.ok(row.p50_ms !== null && row.p50_ms > 0)
      }
    })
  }
})

/** As a person would, in a folder that looks like the clone; only the ports are others. */
async function runInOneShell(blocks: string[], hub: HubProcess): Promise<string> {
  symlinkSync(join(ROOT, 'node_modules'), join(hub.folder, 'node_modules'))
  const gatewayPort = await pickFreePort()
  const script = ['set -euo pipefail\n', ...blocks]
    .join('')
    .replaceAll('http://127.0.0.1:8080', hub.url)
    .replaceAll('127.0.0.1:9000', `127.0.0.1:${gatewayPort}`)
    .replaceAll('.listen(9000,', `.listen(${gatewayPort},`)
  writeFileSync(join(hub.folder, 'walkthrough.sh'), script)
  const shell = spawn('bash', ['walkthrough.sh'], {
    cwd: hub.folder,
    env: plainEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: whatever it leaves in the background ends with it.
    detached: true,
  })
  const overdue = setTimeout(() => killGroup(shell.pid), 60_000)
  const errors = text(shell.stderr)
  shell.once('exit', () => killGroup(shell.pid))
  const output = await text(shell.stdout)
  const exitCode = await exitOf(shell)
  clearTimeout(overdue)
  assert.equal(exitCode, 0, `${await errors}${output}`)
  return output
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {
    // Nothing is left of it.
  }
}

function jsonLines(output: string): Record<string, unknown>[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}
