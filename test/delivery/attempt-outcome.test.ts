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
    for (const status of [199, 300, 301, 302, 307, 400, 401, 429, 500]) {
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

  for (const code of [
    'invalid_request',
    'invalid_key',
    'invalid_issuer',
    'invalid_audience',
    'authentication_failed',
    'access_denied',
    'invalid_state',
  ]) {
    it(`keeps the code ${code} of the standards`, () => {
      const outcome = answer(400, JSON.stringify({ err: code }))
      assert.deepEqual(outcome, { class: 'rejected', code, reason: `${code}: ` })
    })
  }

  it('says what the receiver said when its code is none of the standards’', () => {
    const outcome = answer(400, '{"err":"made_up","description":"words"}')
    assert.deepEqual(outcome, { class: 'rejected', code: 'rejected', reason: 'made_up: words' })
    const odd = answer(400, '{"err":"invalid_key","description":7}')
    assert.deepEqual(odd, { class: 'rejected', code: 'invalid_key', reason: 'invalid_key: ' })
  })

  it('says so when a 400 names no error', () => {
    for (const body of ['', 'oops', '[]', 'null', '7', '{"err":7}']) {
      const outcome = answer(400, body)
      assert.deepEqual(outcome, {
        class: 'rejected',
        code: 'rejected',
        reason: 'answered 400 without an err',
      })
    }
  })

  it('bounds what it keeps of a receiver’s description', () => {
    const outcome = answer(400, JSON.stringify({ err: 'invalid_key', description: 'x'.repeat(10_000) }))
    assert.equal(outcome.class === 'rejected' && outcome.reason, `invalid_key: ${'x'.repeat(287)}`)
  })

  it('heeds Retry-After on a failure, and names the status', () => {
    const failed = { class: 'failed', answered: true, reason: 'answered 503' }
    assert.deepEqual(answer(503, '', { 'retry-after': '2' }), { ...failed, retryAfterMs: 2_000 })
    assert.deepEqual(answer(503, '', { 'retry-after': 'soon' }), failed)
    assert.deepEqual(answer(503), failed)
  })
})
