import assert from 'node:assert/strict'
import { median, medianRatio, quantile } from '../../bench/statistics.js'

describe('bench statistics', () => {
  it('takes a quantile by nearest rank', () => {
    const hundred = Float64Array.from({ length: 100 }, (_, index) => index + 1)
    assert.equal(quantile(hundred, 0.5), 50)
    assert.equal(quantile(hundred, 0.99), 99)
    assert.equal(quantile(hundred, 1), 100)
    assert.equal(quantile([7], 0.99), 7)
    assert.equal(quantile([1, 2, 3], 0), 1)
  })

  it('says that nothing has no quantile and no median', () => {
    assert.ok(Number.isNaN(quantile([], 0.5)))
    assert.ok(Number.isNaN(median([])))
  })

  it('finds the middle without changing what it was given', () => {
    const values = [9, 1, 5]
    assert.equal(median(values), 5)
    assert.deepEqual(values, [9, 1, 5])
    assert.equal(median([4, 1, 3, 2]), 2.5)
  })

  it('takes the median of the quotients, not the quotient of the medians', () => {
    // A slow minute halved both sides of the second pair: its quotient is the same.
    assert.equal(
      medianRatio([
        [50, 100],
        [25, 50],
        [90, 100],
      ]),
      0.5,
    )
    assert.equal(
      medianRatio([
        [1, 0],
        [3, 4],
      ]),
      0.75,
    )
  })
})
