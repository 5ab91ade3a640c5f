import assert from 'node:assert/strict'
import { parseDuration, parseFuture, parsePast } from '../../src/cli/time-option.js'

describe('times on the command line', () => {
  it('reads durations', () => {
    assert.deepEqual(
      ['250ms', '1.5s', '15m', '2h', '7d'].map(parseDuration),
      [250, 1500, 900_000, 7_200_000, 604_800_000],
    )
  })

  it('reads a duration as that long ago, or from now', () => {
    const now = Date.now()
    assert.ok(Math.abs(Date.parse(parsePast('1h')) - (now - 3_600_000)) < 20_000)
    assert.ok(Math.abs(Date.parse(parseFuture('1h')) - (now + 3_600_000)) < 20_000)
  })

  it('reads dates and times with their zone, and nothing that would depend on the machine', () => {
    assert.equal(parsePast('2026-01-31'), '2026-01-31T00:00:00.000Z')
    assert.equal(parsePast('2026-01-31T10:00+02:00'), '2026-01-31T08:00:00.000Z')
    for (const text of ['2026-01-31T10:00', '2026-13-01', '1 January', '10', '']) {
      assert.throws(() => parsePast(text), /Write a time such as/, text)
    }
  })
})
