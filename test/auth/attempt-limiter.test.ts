import assert from 'node:assert/strict'
import express from 'express'
import request from 'supertest'
import { createAttemptLimiter } from '../../src/auth/attempt-limiter.js'
import { type AuthenticatedReceiver, requireReceiver } from '../../src/auth/callers.js'
import { renderErrors } from '../../src/http/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

describe('auth: failed attempts', () => {
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs }
  const limiter = () => createAttemptLimiter({ clock, failures: 3, windowMs: 1_000 })

  it('refuses an address after too many failures, until the window ends', () => {
    nowMs = 0
    const attempts = limiter()
    for (let n = 0; n < 3; n += 1) {
      assert.equal(attempts.isBlocked('a'), false)
      assert.equal(attempts.failed('a'), undefined)
    }
    assert.equal(attempts.isBlocked('a'), true)
    assert.equal(attempts.isBlocked('b'), false)
    const refusal = attempts.failed('a')
    assert.equal(refusal?.code, 'ERR_TOO_MANY_REQUESTS')
    assert.equal(refusal?.retryAfterS, 1)
    assert.equal(attempts.failed('b'), undefined)
    nowMs = 1_000
    assert.equal(attempts.isBlocked('a'), false)
    assert.equal(attempts.failed('a'), undefined)
  })

  it('refuses the 31st failure of a minute where nothing else is said, and says when the minute ends', () => {
    nowMs = 0
    const attempts = createAttemptLimiter({ clock })
    for (let n = 0; n < 30; n += 1) assert.equal(attempts.failed('a'), undefined)
    nowMs = 45_500
    assert.equal(attempts.failed('a')?.retryAfterS, 14.5)
    nowMs = 59_999
    assert.equal(attempts.isBlocked('a'), true)
    assert.ok(attempts.failed('a'))
    nowMs = 60_000
    assert.equal(attempts.isBlocked('a'), false)
    assert.equal(attempts.failed('a'), undefined)
  })

  it('takes all addresses of one IPv6 network as one', () => {
    const attempts = limiter()
    for (let n = 0; n < 3; n += 1) assert.equal(attempts.failed(`2001:db8::${n}`), undefined)
    assert.ok(attempts.failed('2001:db8::ffff'))
    assert.equal(attempts.failed('2001:db8:0:1::1'), undefined)
  })

  it('answers 429 with Retry-After to bad tokens only, and lets a new good one pass', async () => {
    const good = { scopes: ['ssf.read'] } as AuthenticatedReceiver
    const receivers = {
      attempts: limiter(),
      authenticate: async (token: string) => (token === 'good' ? good : undefined),
    }
    const app = express()
    app.get('/', requireReceiver(receivers, 'ssf.read'), (_req, res) => void res.json('in'))
    app.use(renderErrors({ logger: silentLogger }))
    const statuses: number[] = []
    for (let n = 0; n < 5; n += 1) {
      const res = await request(app).get('/').auth(`guess-${n}`, { type: 'bearer' })
      statuses.push(res.status)
      if (res.status === 429) assert.match(res.headers['retry-after'] ?? '', /^\d+$/)
    }
    assert.deepEqual(statuses, [401, 401, 401, 429, 429])
    assert.equal((await request(app).get('/').auth('good', { type: 'bearer' })).status, 200)
  })
})
