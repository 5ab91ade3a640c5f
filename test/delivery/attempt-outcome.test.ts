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
      assert.equal(outcome.class === 'failed' && outcome.failure, 'unexpected_status')
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

  it('takes 400 with an err of its own for a failure', () => {
    const outcome = answer(400, '{"err":"made_up","description":"words"}')
    const reason = 'answered 400 without an err of RFC 8935'
    assert.deepEqual(outcome, { class: 'failed', failure: 'unexpected_status', reason })
    const odd = answer(400, '{"err":"invalid_key","description":7}')
    assert.deepEqual(odd, { class: 'rejected', code: 'invalid_key', reason: 'invalid_key: ' })
  })

  it('takes 400 without an err for a failure: it is no receiver’s word on this SET', () => {
    for (const body of ['', 'oops', '[]', 'null', '7', '{"err":7}']) {
      const outcome = answer(400, body)
      assert.deepEqual(outcome, {
        class: 'failed',
        failure: 'unexpected_status',
        reason: 'answered 400 without an err of RFC 8935',
      })
    }
  })

  it('bounds what it keeps of a receiver’s description', () => {
    const outcome = answer(400, JSON.stringify({ err: 'invalid_key', description: 'x'.repeat(10_000) }))
    assert.equal(outcome.class === 'rejected' && outcome.reason, `invalid_key: ${'x'.repeat(287)}`)
  })

  it('heeds Retry-After on a failure, and names the status', () => {
    const failed = { class: 'failed', failure: 'server_error', reason: 'answered 503' }
    assert.deepEqual(answer(503, '', { 'retry-after': '2' }), { ...failed, retryAfterMs: 2_000 })
    assert.deepEqual(answer(503, '', { 'retry-after': 'soon' }), failed)
    assert.deepEqual(answer(503), failed)
  })

  it('names the class of each other status', () => {
    const classes: Record<string, readonly number[]> = {
      server_error: [500, 501, 502, 503, 504, 520, 599],
      rate_limited: [429],
      unauthorized: [401, 403],
      gone: [410],
      redirect: [300, 301, 302, 303, 304, 307, 308],
      unexpected_status: [200, 201, 204, 402, 404, 405, 408, 409, 413, 415, 418, 422, 451, 499],
    }
    for (const [failure, statuses] of Object.entries(classes)) {
      for (const status of statuses) {
        const outcome = answer(status)
        assert.equal(outcome.class === 'failed' && outcome.failure, failure, String(status))
      }
    }
  })

  it('waits as long as 429 and 503 ask, a minute at most, and never back in time', () => {
    const soon = new Date(Date.now() + 20_000).toUTCString()
    const past = new Date(Date.now() - 3_600_000).toUTCString()
    const waits: [value: string, least: number, most: number][] = [
      ['0', 0, 0],
      ['7', 7_000, 7_000],
      ['60', 60_000, 60_000],
      ['61', 60_000, 60_000],
      ['99999999999999999999', 60_000, 60_000],
      [soon, 18_000, 20_000],
      [past, 0, 0],
      ['Fri, 31 Dec 9999 23:59:59 GMT', 60_000, 60_000],
      ['-5', 0, 0],
    ]
    for (const status of [429, 503]) {
      for (const [value, least, most] of waits) {
        const outcome = answer(status, '', { 'retry-after': value })
        assert.ok(outcome.class === 'failed' && outcome.retryAfterMs !== undefined, value)
        assert.ok(
          outcome.retryAfterMs >= least && outcome.retryAfterMs <= most,
          `${value}: ${outcome.retryAfterMs}`,
        )
      }
      for (const value of ['', 'soon', '1e400', 'NaN', 'Infinity', '\u0000']) {
        const outcome = answer(status, '', { 'retry-after': value })
        assert.ok(outcome.class === 'failed' && outcome.retryAfterMs === undefined, value)
      }
    }
  })

  it('lets no other status put a SET off', () => {
    for (const status of [200, 301, 401, 404, 410, 500, 502]) {
      const outcome = answer(status, '', { 'retry-after': '30' })
      assert.ok(outcome.class === 'failed' && outcome.retryAfterMs === undefined, String(status))
    }
  })
})
