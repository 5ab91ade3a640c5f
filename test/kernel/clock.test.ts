import assert from 'node:assert/strict'
import { createClock, dayOf, toTimestamp } from '../../src/kernel/clock.js'

describe('shared clock', () => {
  it('follows the database by a measured offset and says how far it moved', () => {
    const clock = createClock()
    const moved = clock.adjust(1_900_000_000_000, clock.monotonicMs())
    assert.ok(Math.abs(clock.now() - 1_900_000_000_000) < 20_000)
    assert.ok(Math.abs(moved - (1_900_000_000_000 - Date.now())) < 20_000)
  })

  it('writes times and days in UTC', () => {
    assert.equal(toTimestamp(1_800_000_000_123.9), '2027-01-15T08:00:00.123Z')
    assert.equal(dayOf(1_800_000_000_000), '2027-01-15')
  })
})
