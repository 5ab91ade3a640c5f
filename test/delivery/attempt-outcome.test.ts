import assert from 'node:assert/strict'
import { outcomeOfAnswer } from '../../src/delivery/attempt-outcome.js'

function answer(status: number, body = '', headers: Record<string, string> = {}, acceptsAny2xx = false) {
  const settings = { nowMs: Date.now(), acceptsAny2xx }
  return outcomeOfAnswer({ status, headers, body: Buffer.from(body) }, settings)
}

describe('outcome of a push attempt (RFC 8935)', () => {
  it('takes only 202 for success', () => {
    assert.equal(answer(202).class, 'received')
    for (const status of [200, 201, 204, 301, 302, 307, 308, 401, 403, 404, 410, 429, 500, 503]) {
      assert.equal(answer(status).class, 'failed', String(status))
    }
  })

  it('takes any 2xx for success, and nothing else, from a receiver with accept_any_2xx (T-83)', () => {
    for (const status of [200, 201, 202, 204, 299]) {
      assert.equal(answer(status, '', {}, true).class, 'received', String(status))
    }
    for (const status of [301, 302, 307, 400, 401, 429, 500]) {
      assert.notEqual(answer(status, '', {}, true).class, 'received', String(status))
    }
  })

  it('takes 400 with an err for a rejection of this SET, with the receiver’s words', () => {
    const outcome = answer(400, '{"err":"invalid_audience","description":"not for me"}')
    assert.deepEqual(outcome, {
      class: 'rejected',
      code: 'invalid_audience',
      reason: 'invalid_audience: not for me',
    })
  })

  for (const body of ['', 'oops', '[]', 'null', '{"err":7}', '{"err":"made_up"}']) {
    it(`never stumbles over a 400 with the body ${JSON.stringify(body)}`, () => {
      const outcome = answer(400, body)
      assert.equal(outcome.class, 'rejected')
      assert.equal(outcome.class === 'rejected' && outcome.code, 'rejected')
    })
  }

  it('bounds what it keeps of a receiver’s description', () => {
    const outcome = answer(400, JSON.stringify({ err: 'invalid_key', description: 'x'.repeat(10_000) }))
    assert.ok(outcome.class === 'rejected' && outcome.reason.length <= 300)
  })

  it('heeds Retry-After on a failure', () => {
    const outcome = answer(503, '', { 'retry-after': '2' })
    assert.equal(outcome.class === 'failed' && outcome.retryAfterMs, 2_000)
  })
})
