import assert from 'node:assert/strict'
import request from 'supertest'
import { answerStarting } from '../../src/http/starting.js'

describe('a hub that is starting', () => {
  for (const [method, path] of [
    ['get', '/ssf/streams'],
    ['get', '/ssf/jwks.json'],
    ['post', '/ssf/poll/x'],
    ['post', '/ingest/x'],
    ['get', '/v1/receivers'],
  ] as const) {
    it(`answers ${method.toUpperCase()} ${path} with 503 ERR_UNAVAILABLE and Retry-After, and asks nobody who it is`, async () => {
      const res = await request(answerStarting)[method](path).auth('nonsense', { type: 'bearer' })
      assert.deepEqual([res.status, res.body.code], [503, 'ERR_UNAVAILABLE'])
      assert.deepEqual(Object.keys(res.body), ['code', 'message'])
      assert.equal(res.headers['content-type'], 'application/json; charset=utf-8')
      assert.equal(res.headers['cache-control'], 'no-store')
      assert.equal(res.headers['retry-after'], '2')
      assert.equal(res.headers['www-authenticate'], undefined)
    })
  }
})
