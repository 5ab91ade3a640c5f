import assert from 'node:assert/strict'
import { createWake } from '../../src/kernel/wake.js'

const LONG_MS = 30_000

describe('wake', () => {
  it('remembers a ring that came before the wait, once', async () => {
    const wake = createWake()
    wake.ring()
    wake.ring()
    await wake.wait(LONG_MS)
    let woken = false
    const second = wake.wait(LONG_MS).then(() => {
      woken = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(woken, false)
    wake.ring()
    await second
  })

  it('returns after the time-out without a ring', async () => {
    await createWake().wait(1)
  })
})
