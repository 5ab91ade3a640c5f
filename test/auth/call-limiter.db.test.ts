import assert from 'node:assert/strict'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import request from 'supertest'
import { createAdapterFactory } from '../../src/auth/authorization-adapter.js'
import { createCallLimiter } from '../../src/auth/call-limiter.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { sqlRows } from '../../src/storage/database.js'
import { waitUntil } from '../support/wait.js'
import { type AuthApp, createAuthApp, ISSUER } from './auth-app.js'

describe('auth: calls of one caller', () => {
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs }
  beforeEach(() => {
    nowMs = 0
  })

  it('come as often as allowed, in bursts too, and each caller has its own share', () => {
    const calls = createCallLimiter({ clock, perS: 2, burst: 3 })
    for (let n = 0; n < 3; n += 1) assert.equal(calls.take('a'), undefined)
    const refusal = calls.take('a')
    assert.equal(refusal?.code, 'ERR_TOO_MANY_REQUESTS')
    assert.equal(refusal?.retryAfterS, 1)
    assert.equal(calls.take('b'), undefined)
    nowMs = 1_000
    assert.deepEqual(
      [1, 2, 3].map(() => calls.take('a') === undefined),
      [true, true, false],
    )
    nowMs = 60_000
    assert.deepEqual(
      [1, 2, 3, 4].map(() => calls.take('a') === undefined),
      [true, true, true, false],
    )
  })

  it('may come again when Retry-After says, a second from now at the soonest', () => {
    const slow = createCallLimiter({ clock, perS: 0.5, burst: 1 })
    assert.equal(slow.take('a'), undefined)
    assert.equal(slow.take('a')?.retryAfterS, 2)
    nowMs = 500
    assert.equal(slow.take('a')?.retryAfterS, 1.5)
    nowMs = 1_500
    const refusal = slow.take('a')
    assert.equal(refusal?.retryAfterS, 1)
    assert.equal(refusal?.message, 'You ask more than 0.5 times a second; wait as Retry-After says.')
    nowMs = 2_000
    assert.equal(slow.take('a'), undefined)
    const quick = createCallLimiter({ clock, perS: 100, burst: 1 })
    quick.take('a')
    assert.equal(quick.take('a')?.retryAfterS, 1)
  })

  it('are forgotten of a caller when 10,000 others called since', () => {
    const calls = createCallLimiter({ clock, perS: 1, burst: 1 })
    calls.take('a')
    for (let n = 1; n < 10_000; n += 1) calls.take(`other ${n}`)
    assert.ok(calls.take('a'))
    for (let n = 0; n < 10_000; n += 1) calls.take(`more ${n}`)
    assert.equal(calls.take('a'), undefined)
  })

  describe('at the API', () => {
    let hub: AuthApp
    before(async () => {
      hub = await createAuthApp({ calls: createCallLimiter({ clock, perS: 1, burst: 2 }) })
    })
    after(() => hub.close())

    it('are answered 429 with Retry-After beyond that, by operator and by receiver', async () => {
      const get = (path: string, token: string) => request(hub.app).get(path).auth(token, { type: 'bearer' })
      const created = await request(hub.app)
        .post('/v1/receivers')
        .auth(hub.adminToken, { type: 'bearer' })
        .send({ name: 'gateway' })
      const { client_id: id, client_secret: secret } = created.body
      const askToken = () =>
        request(hub.app)
          .post('/oauth/token')
          .auth(id, secret)
          .type('form')
          .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
      const { access_token: token } = (await askToken()).body
      assert.equal((await askToken()).status, 200)
      const noToken = await askToken()
      assert.equal(noToken.status, 429)
      assert.equal(noToken.headers['retry-after'], '1')
      assert.equal(noToken.body.error, 'temporarily_unavailable')
      assert.match(noToken.body.error_description, /wait as Retry-After says/)
      assert.equal((await sqlRows(hub.db, 'select 1 from oauth_artifacts')).length, 2)

      assert.equal((await get('/as-operator', hub.adminToken)).status, 200)
      const refused = await get('/as-operator', hub.adminToken)
      assert.equal(refused.status, 429)
      assert.equal(refused.headers['retry-after'], '1')
      assert.equal(refused.body.code, 'ERR_TOO_MANY_REQUESTS')
      assert.equal((await get('/as-caller', hub.adminToken)).status, 429)
      // The tokens were counted for it too.
      nowMs += 2_000
      const byReceiver: number[] = []
      for (const path of ['/as-reader', '/as-caller', '/as-reader', '/as-caller']) {
        byReceiver.push((await get(path, token)).status)
      }
      assert.deepEqual(byReceiver, [200, 200, 429, 429])
      nowMs += 1_000
      assert.equal((await get('/as-operator', hub.adminToken)).status, 200)
    })

    it('are bounded for signed assertions too, wherever they are sent', async () => {
      nowMs += 60_000
      const { publicKey, privateKey } = await generateKeyPair('ES256')
      const created = await request(hub.app)
        .post('/v1/receivers')
        .auth(hub.adminToken, { type: 'bearer' })
        .send({
          name: 'signing',
          token_endpoint_auth_method: 'private_key_jwt',
          jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] },
        })
      const id = created.body.client_id as string
      const statuses: number[] = []
      for (const jti of ['1', '2', '3']) {
        const res = await request(hub.app)
          .post('/oauth/introspect')
          .type('form')
          .send({
            token: 'x',
            client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
            client_assertion: await new SignJWT({ jti })
              .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
              .setIssuer(id)
              .setSubject(id)
              .setAudience(ISSUER)
              .setExpirationTime('1 minute')
              .sign(privateKey),
          })
        statuses.push(res.status)
        if (res.status !== 429) continue
        assert.equal(res.headers['retry-after'], '1')
        assert.equal(res.body.error, 'temporarily_unavailable')
      }
      assert.deepEqual(statuses, [200, 200, 429])
    })

    it('leave no expired tokens behind, however many there were', async () => {
      await sqlRows(
        hub.db,
        `insert into oauth_artifacts (model, id_hash, payload, expires_at)
         select 'ClientCredentials', sha256(n::text::bytea), '{}', now() - interval '1 s' from generate_series(1, 3500) n`,
      )
      const adapter = createAdapterFactory({
        db: hub.db,
        clock,
        logger: silentLogger,
        currentSecretHash: () => undefined,
      })('ReplayDetection')
      nowMs += 61_000
      await adapter.upsert('one', {}, 60)
      const expired = () => sqlRows(hub.db, 'select 1 from oauth_artifacts where expires_at < now()')
      await waitUntil('all expired tokens are gone', async () => (await expired()).length === 0)
      const [left] = await sqlRows<{ n: number }>(
        hub.db,
        "select count(*)::int as n from oauth_artifacts where model = 'ReplayDetection'",
      )
      // That of this test, and those of the assertions before it.
      assert.equal(left?.n, 3)
    })
  })
})
