import assert from 'node:assert/strict'
import { retryAfterMs } from '../../src/outgoing/retry-after.js'

describe('Retry-After', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  const headers: [string | undefined, number | undefined][] = [
    [undefined, undefined],
    ['', undefined],
    ['soon', undefined],
    ['3', 3_000],
    ['99999999', 60_000],
    ['Thu, 01 Jan 2026 00:00:05 GMT', 5_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
  ]

  it('is believed for as long as the caller says', () => {
    assert.equal(retryAfterMs('120', now, 300_000), 120_000)
  })

  for (const [header, expected] of headers) {
    it(`reads Retry-After ${JSON.stringify(header)} as ${expected} ms`, () => {
      assert.equal(retryAfterMs(header, now), expected)
    })
  }
})
