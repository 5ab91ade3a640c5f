import assert from 'node:assert/strict'
import express from 'express'
import request from 'supertest'
import { createAttemptLimiter } from '../../src/auth/attempt-limiter.js'
import { requireReceiver } from '../../src/auth/callers.js'
import { renderErrors } from '../../src/http/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

describe('auth: failed attempts', () => {
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs }
  const limiter = () => createAttemptLimiter({ clock, failures: 3, windowMs: 1_000 })

  it('shuts an address out after too many failures, until the window ends', () => {
    nowMs = 0
    const attempts = limiter()
    for (let n = 0; n < 3; n += 1) {
      attempts.check('a', 'x')
      attempts.failed('a')
    }
    assert.throws(() => attempts.check('a', 'x'), { code: 'ERR_TOO_MANY_REQUESTS', retryAfterS: 1 })
    attempts.check('b', 'x')
    nowMs = 1_000
    attempts.check('a', 'x')
    attempts.failed('a')
    attempts.check('a', 'x')
  })

  it('lets credentials pass that were good before, so a broken neighbour shuts nobody out', () => {
    const attempts = limiter()
    attempts.succeeded('good')
    for (let n = 0; n < 3; n += 1) attempts.failed('a')
    attempts.check('a', 'good')
    assert.throws(() => attempts.check('a', 'new'))
  })

  it('answers 429 with Retry-After and asks the database no more', async () => {
    let asked = 0
    const receivers = {
      attempts: limiter(),
      authenticate: async () => {
        asked += 1
        return undefined
      },
    }
    const app = express()
    app.get('/', requireReceiver(receivers, 'ssf.read'))
    app.use(renderErrors({ logger: silentLogger }))
    const statuses: number[] = []
    for (let n = 0; n < 5; n += 1) {
      const res = await request(app).get('/').auth(`guess-${n}`, { type: 'bearer' })
      statuses.push(res.status)
      if (res.status === 429) assert.match(res.headers['retry-after'] ?? '', /^\d+$/)
    }
    assert.deepEqual(statuses, [401, 401, 401, 429, 429])
    assert.equal(asked, 3)
  })
})
