import assert from 'node:assert/strict'
import type { LoadResult } from '../../bench/load.js'
import { findFaults } from '../../bench/verdict.js'

/** 30 s at 100 events/s on 5 streams, without a fault. */
const GOOD: LoadResult = {
  ratePerS: 100,
  sent: 3_000,
  accepted: 3_000,
  refused: 0,
  failed: 0,
  aborted: false,
  answerP50Ms: 2,
  answerP99Ms: 9,
  latenessP99Ms: 1,
  delivered: 15_000,
  duplicates: 0,
  missing: 0,
  strays: 0,
  p50Ms: 5,
  p99Ms: 20,
  maxMs: 40,
  lastP50Ms: 12,
  growthMs: 3,
  drainMs: 4,
  deliveredPerS: 500,
  cpuUs: {},
  memoryMb: {},
}

describe('bench verdict', () => {
  it('lets a rate pass that was accepted, delivered and did not grow', () => {
    assert.deepEqual(findFaults(GOOD), [])
  })

  for (const [what, change] of [
    ['a refusal', { refused: 1 }],
    ['a request without an answer', { failed: 1 }],
    ['a loss', { missing: 1 }],
    ['a delivery more than 2 s after the end', { drainMs: 2_001 }],
    ['latency that grows by a fiftieth of the time', { growthMs: 401 }],
    ['a driver that gave up', { aborted: true }],
  ] as const) {
    it(`does not let ${what} pass`, () => {
      assert.equal(findFaults({ ...GOOD, ...change }).length, 1)
    })
  }

  it('takes a little unrest in a short run for noise', () => {
    assert.deepEqual(findFaults({ ...GOOD, sent: 300, growthMs: 55 }), [])
    assert.equal(findFaults({ ...GOOD, sent: 300, growthMs: 65 }).length, 1)
  })

  it('allows one event more under way, which at slow rates is a long time', () => {
    assert.deepEqual(findFaults({ ...GOOD, ratePerS: 2, sent: 8, growthMs: 490 }), [])
    assert.equal(findFaults({ ...GOOD, ratePerS: 2, sent: 8, growthMs: 510 }).length, 1)
  })
})
