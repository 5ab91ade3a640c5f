import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { DemoResult } from '../../src/demo/demo-result.js'

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url))

describe('firebreak demo on the real hub', () => {
  it('ends with 0 under a minute, every point refused and measured, nothing left', async function () {
    this.timeout(90_000)
    const child = spawn(process.execPath, [MAIN, 'demo', '--json'])
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text
    })
    const [code] = (await once(child, 'close')) as [number]
    assert.equal(code, 0, err)
    const result = JSON.parse(out) as DemoResult
    assert.deepEqual(result.problems, [])
    assert.deepEqual(result.left_behind, [])
    assert.ok(result.total_ms < 60_000, `it took ${result.total_ms} ms`)
    assert.equal(result.points.length, 3)
    for (const point of result.points) {
      assert.deepEqual([point.access_before, point.access_after, point.other_session_after], [200, 401, 200])
      // A quick point may report applied before its poll acknowledges: only that both were measured is sure.
      assert.ok((point.received_ms ?? 0) > 0 && (point.applied_ms ?? 0) > 0)
    }
    const slow = result.points.find(({ name }) => name === 'tool-proxy')
    assert.ok((slow?.applied_ms ?? 0) >= 1_500)
    assert.ok((slow?.received_ms ?? 0) < (slow?.applied_ms ?? 0) - 500)
  })
})
