import assert from 'node:assert/strict'
import request from 'supertest'
import { type Database, openPool } from '../../src/storage/database.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { type AuthApp, createAuthApp } from './auth-app.js'

describe('auth: with the database away', () => {
  let hub: AuthApp
  let proxy: TcpProxy
  let pool: Database
  before(async () => {
    let targetPort = 0
    proxy = await startTcpProxy({ targetPort: () => targetPort })
    hub = await createAuthApp({
      openDb(test) {
        const url = new URL(test.url)
        targetPort = Number(url.port)
        url.port = String(proxy.port)
        pool = openPool(url.href, { name: 'outage', max: 2 })
        return pool
      },
    })
  })
  after(async () => {
    await pool.destroy()
    await hub.close()
    await proxy.close()
  })

  it('answers 503 and Retry-After, never 401 or 500, and works again by itself', async () => {
    const receiver = await request(hub.app)
      .post('/v1/receivers')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'gw' })
    const { client_id, client_secret } = receiver.body
    const calls = [
      () => request(hub.app).get('/v1/receivers').auth(hub.adminToken, { type: 'bearer' }),
      () => request(hub.app).get('/as-reader').auth('unknown', { type: 'bearer' }),
      () =>
        request(hub.app)
          .post('/oauth/token')
          .auth(client_id, client_secret)
          .type('form')
          .send({ grant_type: 'client_credentials', scope: 'ssf.read' }),
    ]
    proxy.refuse(true)
    proxy.cut()
    for (const call of calls) {
      const res = await call()
      assert.equal(res.status, 503, res.text)
      assert.match(res.headers['retry-after'] ?? '', /^\d+$/)
      assert.doesNotMatch(res.text, /database|postgres|connection/i)
    }
    const token = await calls[2]?.()
    assert.deepEqual([token?.headers['retry-after'], token?.body.error], ['2', 'temporarily_unavailable'])
    assert.match(token?.body.error_description ?? '', /send the same request again shortly/)
    proxy.refuse(false)
    const statuses = []
    for (const call of calls) statuses.push((await call()).status)
    assert.deepEqual(statuses, [200, 401, 200])
  })
})
