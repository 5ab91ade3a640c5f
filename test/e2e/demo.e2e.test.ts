import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { DemoResult } from '../../src/demo/demo-result.js'
import { listProcesses } from '../../src/demo/process-table.js'
import { exitOf, HUB_ENTRY, plainEnvironment } from '../support/hub-process.js'

describe('firebreak demo, on a real hub', function () {
  this.timeout(180_000)
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-e2e-demo-'))
  const demoProcesses = () =>
    listProcesses().filter(({ command }) => command.includes(folder) || /dist\/src\/demo\//.test(command))
  let others: Set<number>
  let stdout: string
  let stderr: string
  let exitCode: number | null

  before(async () => {
    chmodSync(folder, 0o755)
    others = new Set(demoProcesses().map(({ pid }) => pid))
    const child = spawn(process.execPath, [HUB_ENTRY, 'demo', '--json'], {
      cwd: folder,
      // The settings of a hub of the user's own are none of its business.
      env: {
        ...plainEnvironment(),
        TMPDIR: folder,
        PORT: '1',
        DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    ;[stdout, stderr, exitCode] = await Promise.all([text(child.stdout), text(child.stderr), exitOf(child)])
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('ends well within a minute and prints one JSON document', () => {
    assert.equal(exitCode, 0, stderr)
    const result = JSON.parse(stdout) as DemoResult
    assert.deepEqual([result.ok, result.problems, result.left_behind], [true, [], []])
    assert.ok(result.total_ms < 60_000, `${result.total_ms} ms`)
  })

  it('shows each point refusing the session, and its time to revoke, received and applied', () => {
    const { points } = JSON.parse(stdout) as DemoResult
    assert.deepEqual(
      points.map(({ name, method }) => [name, method]),
      [
        ['gateway', 'push'],
        ['token-broker', 'poll'],
        ['tool-proxy', 'push'],
      ],
    )
    for (const point of points) {
      const { access_before, access_after, other_session_after } = point
      assert.deepEqual([access_before, access_after, other_session_after], [200, 401, 200], point.name)
      for (const ms of [point.refused_after_ms, point.received_ms, point.applied_ms]) {
        assert.ok(ms !== null && ms > 0, JSON.stringify(point))
      }
    }
    const slow = points[2]
    assert.ok((slow?.applied_ms ?? 0) > (slow?.received_ms ?? 0) + 1_000, 'received is not applied')
  })

  it('leaves no process and no folder behind', () => {
    assert.deepEqual(
      demoProcesses().filter(({ pid }) => !others.has(pid)),
      [],
    )
    assert.deepEqual(readdirSync(folder), [])
  })
})
