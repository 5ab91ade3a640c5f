import assert from 'node:assert/strict'
import { countEvents } from '../../bench/load.js'

describe('length of a load', () => {
  it('sends for the given time', () => {
    assert.equal(countEvents({ ratePerS: 400, seconds: 30 }), 12_000)
  })

  it('takes longer at a slow rate, and never without end', () => {
    assert.equal(countEvents({ ratePerS: 1, seconds: 3 }), 6)
    assert.equal(countEvents({ ratePerS: 0.3, seconds: 3 }), 5)
    assert.equal(countEvents({ ratePerS: 0.01, seconds: 3 }), 2)
  })
})
