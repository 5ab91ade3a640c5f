import assert from 'node:assert/strict'
import { parseConfiguration } from '../../src/upstream/stream-configuration.js'
import { UpstreamFailed } from '../../src/upstream/upstream-errors.js'

describe('upstream: a stream configuration (SSF 1.0 §8.1.1)', () => {
  const iss = 'https://t.example'
  const parse = (members: object) => parseConfiguration({ iss, stream_id: 's', aud: 'a', ...members }, iss)

  it('bounds the interval of verifications to a day', () => {
    assert.equal(parse({ min_verification_interval: 1e12 }).minVerificationIntervalS, 86_400)
    assert.equal(parse({ min_verification_interval: 1.5 }).minVerificationIntervalS, 2)
    assert.equal(parse({ min_verification_interval: -1 }).minVerificationIntervalS, undefined)
  })

  it('is refused with control characters in aud or stream_id, and has no such type', () => {
    for (const members of [{ aud: 'a\u0000' }, { aud: ['a', 'b\u001b[2J'] }, { stream_id: 's\u0000' }]) {
      assert.throws(() => parse(members), UpstreamFailed)
    }
    assert.deepEqual(parse({ events_delivered: ['e\u0000', 'f'] }).eventsDelivered, ['f'])
  })
})
