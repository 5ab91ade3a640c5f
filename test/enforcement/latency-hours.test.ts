import assert from 'node:assert/strict'
import { bucketUpperMs } from '../../src/enforcement/latency-buckets.js'
import { closedUntil, HOUR_MS, uncoveredRanges } from '../../src/enforcement/latency-hours.js'
import { STAGE_DEADLINES } from './enforcement-fixture.js'

describe('hours of a window', () => {
  const hour = (n: number) => n * HOUR_MS

  it('leaves the parts of a window that no folded hour covers', () => {
    const window = { fromMs: hour(1) + 5, toMs: hour(6) + 7 }
    assert.deepEqual(uncoveredRanges(window, [hour(2), hour(3), hour(5)]), [
      { fromMs: hour(1) + 5, toMs: hour(2) },
      { fromMs: hour(4), toMs: hour(5) },
      { fromMs: hour(6), toMs: hour(6) + 7 },
    ])
  })

  it('answers one empty range for a window that is folded whole', () => {
    assert.deepEqual(uncoveredRanges({ fromMs: hour(2), toMs: hour(4) }, [hour(2), hour(3)]), [
      { fromMs: hour(4), toMs: hour(4) },
    ])
  })

  it('closes an hour ten minutes after its end, or after the longest deadline', () => {
    assert.equal(closedUntil(hour(5) + 599_999, STAGE_DEADLINES), hour(4))
    assert.equal(closedUntil(hour(5) + 600_000, STAGE_DEADLINES), hour(5))
    const slow = { ...STAGE_DEADLINES, applied: 900_000 }
    assert.equal(closedUntil(hour(5) + 600_000, slow), hour(4))
    assert.equal(closedUntil(hour(5) + 900_000, slow), hour(5))
  })

  it('has buckets at most 9.1 % wide', () => {
    for (let bucket = 0; bucket < 200; bucket += 1) {
      assert.ok(bucketUpperMs(bucket + 1) / bucketUpperMs(bucket) < 1.091)
    }
  })
})
