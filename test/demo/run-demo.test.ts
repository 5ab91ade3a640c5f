import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { listProcesses } from '../../src/demo/process-table.js'
import { runDemo } from '../../src/demo/run-demo.js'
import { waitUntil } from '../support/wait.js'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

describe('the demo', () => {
  const parentFolder = mkdtempSync(join(tmpdir(), 'demo-test-'))
  const userTmpDir = process.env.TMPDIR
  let steps: string[]

  before(() => {
    // Folders and processes of this run can then be told from those of anybody else on the machine.
    process.env.TMPDIR = parentFolder
  })
  after(() => {
    if (userTmpDir === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = userTmpDir
    rmSync(parentFolder, { recursive: true })
  })
  beforeEach(() => {
    steps = []
  })

  const demoFolders = () => readdirSync(parentFolder)
  const demoProcesses = () =>
    listProcesses().filter(
      ({ command }) => command.includes(parentFolder) || command.includes(here('../../src/demo/')),
    )

  const run = (hub: string, options: { patienceMs?: number; signal?: AbortSignal } = {}) =>
    runDemo({
      hubEntry: here(`./${hub}.js`),
      environment: { PATH: process.env.PATH, DATABASE_URL: 'postgres://of-the-user' },
      signal: new AbortController().signal,
      step: (label, work) => {
        steps.push(label)
        return work()
      },
      note: () => {},
      ...options,
    })

  function assertNothingLeft(): void {
    assert.deepEqual(demoFolders(), [])
    assert.deepEqual(demoProcesses(), [])
  }

  it('shows one session refused at three points, another left alone, and leaves nothing behind', async () => {
    const result = await run('mini-hub-process')
    assert.deepEqual(result.problems, [])
    assert.equal(result.ok, true)
    assert.deepEqual(
      result.points.map(({ name, method, access_before, access_after, other_session_after }) => [
        name,
        method,
        access_before,
        access_after,
        other_session_after,
      ]),
      [
        ['gateway', 'push', 200, 401, 200],
        ['token-broker', 'poll', 200, 401, 200],
        ['tool-proxy', 'push', 200, 401, 200],
      ],
    )
    const slow = result.points[2]
    assert.ok((slow?.refused_after_ms ?? 0) >= 1_500)
    // What the whole product is about: an acknowledgement is not enforcement.
    assert.ok((slow?.applied_ms ?? 0) >= (slow?.received_ms ?? 0) + 1_000)
    assertNothingLeft()
  })

  it('says which points still let the session in when nothing is delivered', async () => {
    const result = await run('deaf-hub-process', { patienceMs: 300 })
    assert.equal(result.ok, false)
    for (const name of ['gateway', 'token-broker', 'tool-proxy']) {
      assert.ok(
        result.problems.includes(`${name} still lets the revoked session in (200)`),
        result.problems.join(),
      )
    }
    assertNothingLeft()
  })

  it('names what a hub left behind, and ends it', async () => {
    const result = await run('leaky-hub-process')
    assert.equal(result.ok, false)
    assert.equal(result.left_behind.length, 1)
    assert.match(result.left_behind[0] ?? '', /^process \d+ \(.*\/data\/postgres/)
    assertNothingLeft()
  })

  it("passes on the hub's own reason when it does not start", async () => {
    await assert.rejects(run('broken-hub-process'), /the hub ended at its start: PORT is taken/)
    assertNothingLeft()
  })

  it('cleans up when it is ended early', async () => {
    const early = new AbortController()
    const running = run('deaf-hub-process', { signal: early.signal })
    await waitUntil('the fourth step', () => steps.length >= 4)
    early.abort(new Error('interrupted'))
    await assert.rejects(running, /interrupted/)
    assertNothingLeft()
  })

  it('is cleaned up after when it is killed outright', async () => {
    const child = spawn(process.execPath, [here('./demo-process.js'), here('./deaf-hub-process.js')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.setEncoding('utf8')
    for await (const text of child.stdout) {
      out += text as string
      if (/sign in/.test(out)) child.kill('SIGKILL')
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    const left = () => [...demoProcesses(), ...demoFolders()]
    await waitUntil('the end of all', () => left().length === 0, { detail: () => JSON.stringify(left()) })
  })
})
