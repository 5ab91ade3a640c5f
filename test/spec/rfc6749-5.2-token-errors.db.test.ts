import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import request from 'supertest'
import { type AuthHub, describeAuth } from './auth-places.js'

describeAuth('RFC 6749 §4.4 and §5.2: answers of the token endpoint', ({ open, routes }) => {
  let hub: AuthHub
  let client: { client_id: string; client_secret: string }
  before(async () => {
    hub = await open()
    const call = request(hub.app).post('/v1/receivers').auth(hub.adminToken, { type: 'bearer' })
    client = (await call.send({ name: randomUUID() })).body
  })
  after(() => hub.close())

  const ask = (form: Record<string, unknown> | string) =>
    request(hub.app).post('/oauth/token').auth(client.client_id, client.client_secret).type('form').send(form)

  it('narrows the token to the scope that was asked for (§3.3)', async () => {
    const res = await ask({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(res.body.scope, 'ssf.read')
    const { method, path } = routes.manager
    const use = (call: request.Test) => call.auth(res.body.access_token, { type: 'bearer' })
    assert.equal((await use(request(hub.app).get(routes.reader))).status, 200)
    assert.equal((await use(request(hub.app)[method](path))).status, 403)
  })

  it('refuses a missing, empty, unknown or partly unknown scope with invalid_scope', async () => {
    const grant_type = 'client_credentials'
    for (const scope of [undefined, '', ' ', 'ssf.kill', 'ssf.read ssf.kill', 'openid', 'SSF.READ']) {
      const res = await ask(scope === undefined ? { grant_type } : { grant_type, scope })
      assert.equal(res.status, 400, String(scope))
      assert.equal(res.body.error, 'invalid_scope', String(scope))
      assert.equal(res.body.access_token, undefined)
    }
  })

  it('refuses other grants with unsupported_grant_type', async () => {
    for (const grant_type of ['password', 'authorization_code', 'refresh_token', 'implicit', 'x']) {
      const res = await ask({ grant_type, scope: 'ssf.read', code: 'x', refresh_token: 'x' })
      assert.equal(res.status, 400)
      assert.equal(res.body.error, 'unsupported_grant_type', grant_type)
    }
  })

  it('refuses a missing grant_type and repeated parameters with invalid_request', async () => {
    for (const form of [
      { scope: 'ssf.read' },
      'grant_type=client_credentials&grant_type=client_credentials&scope=ssf.read',
      'grant_type=client_credentials&scope=ssf.read&scope=ssf.manage',
    ]) {
      const res = await ask(form)
      assert.equal(res.status, 400)
      assert.equal(res.body.error, 'invalid_request')
    }
  })

  it('answers failed client authentication with 401 invalid_client and a Basic challenge', async () => {
    const res = await request(hub.app)
      .post('/oauth/token')
      .auth(client.client_id, 'wrong')
      .type('form')
      .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(res.status, 401)
    assert.equal(res.body.error, 'invalid_client')
    assert.match(res.headers['www-authenticate'] ?? '', /^Basic /)
  })

  it('answers invalid_client to a request without client authentication', async () => {
    const form = { grant_type: 'client_credentials', scope: 'ssf.read' }
    const { client_id } = client
    for (const more of [{}, { client_id }, { client_id, client_secret: '' }]) {
      const res = await request(hub.app)
        .post('/oauth/token')
        .type('form')
        .send({ ...form, ...more })
      assert.equal(res.status, 401, JSON.stringify(more))
      assert.equal(res.body.error, 'invalid_client', JSON.stringify(more))
      assert.equal(res.body.access_token, undefined)
    }
  })

  it('refuses two ways of authentication in one request (§2.3)', async () => {
    const res = await ask({
      grant_type: 'client_credentials',
      scope: 'ssf.read',
      client_secret: client.client_secret,
    })
    assert.equal(res.status, 400)
    assert.equal(res.body.error, 'invalid_request')
  })

  it('takes no credentials and no parameters from the query', async () => {
    const res = await request(hub.app)
      .post('/oauth/token')
      .query({ ...client, grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(res.status, 401)
    assert.equal(res.body.error, 'invalid_client')
    assert.equal(res.body.access_token, undefined)
  })

  it('refuses a body that is no form, and one that is too large, without a 5xx', async () => {
    const call = () => request(hub.app).post('/oauth/token').auth(client.client_id, client.client_secret)
    const json = await call().send({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(json.status, 400)
    const large = await call()
      .type('form')
      .send({ grant_type: 'client_credentials', scope: 'x'.repeat(200_000) })
    assert.ok(large.status >= 400 && large.status < 500, String(large.status))
  })

  it('forbids caching of a token answer (§5.1)', async () => {
    const res = await ask({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(res.headers['cache-control'], 'no-store')
  })
})
