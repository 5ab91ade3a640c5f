import assert from 'node:assert/strict'
import { probeWaitMs, retryWaitMs } from '../../src/delivery/backoff.js'

const middle = () => 0.5

describe('backoff', () => {
  it('tries an urgent SET again within a fraction of a second, then ever more slowly', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7].map((attempt) => retryWaitMs(attempt, true, middle))
    assert.deepEqual(waits, [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000])
    assert.equal(retryWaitMs(1_000, true, middle), 300_000)
  })

  it('gives routine SETs more time', () => {
    assert.ok(retryWaitMs(1, false, middle) > retryWaitMs(1, true, middle))
  })

  it('spreads waits by a fifth either way', () => {
    assert.equal(
      retryWaitMs(1, true, () => 0),
      160,
    )
    assert.ok(Math.abs(retryWaitMs(1, true, () => 0.999999) - 240) < 0.01)
  })

  it('probes a failing endpoint soon, and then every few seconds', () => {
    assert.equal(probeWaitMs(1, 4_000, middle), 200)
    assert.equal(probeWaitMs(50, 4_000, middle), 4_000)
    assert.equal(probeWaitMs(50, 30_000, middle), 30_000)
  })
})
