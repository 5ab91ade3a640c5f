import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { exitOf, HUB_ENTRY, plainEnvironment, startHub } from '../support/hub-process.js'

describe('a reader that goes away', function () {
  this.timeout(90_000)

  it('ends a command without a stack trace', async () => {
    const child = spawn(process.execPath, [HUB_ENTRY, '--help'], {
      env: plainEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    const stderr = await text(child.stderr)
    assert.deepEqual([await exitOf(child), stderr], [0, ''])
  })

  it('leaves a hub running', async () => {
    const hub = await startHub({ env: { LOG_LEVEL: 'debug' } })
    try {
      hub.closeOutput()
      // Each answer is a log line that nobody takes.
      for (let call = 0; call < 3; call += 1) {
        assert.equal((await fetch(`${hub.url}/v1/streams`)).status, 401)
        assert.equal((await fetch(`${hub.managementUrl}/health/ready`)).status, 200)
      }
      hub.signal('SIGTERM')
      assert.equal((await hub.ended()).code, 0)
    } finally {
      await hub.remove()
    }
  })
})
