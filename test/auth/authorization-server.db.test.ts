import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import request from 'supertest'
import { silentLogger } from '../../src/kernel/logger.js'
import { type AuthApp, createAuthApp, ISSUER } from './auth-app.js'

interface Client {
  id: string
  client_id: string
  client_secret: string
}

describe('auth: authorization server', () => {
  let hub: AuthApp
  let count = 0
  before(async () => {
    hub = await createAuthApp()
  })
  after(() => hub.close())

  async function register(extra: object = {}): Promise<Client> {
    count += 1
    const res = await request(hub.app)
      .post('/v1/receivers')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: `gw-${count}`, ...extra })
    assert.equal(res.status, 201, res.text)
    return res.body
  }

  const token = (client: Client, form: object = { scope: 'ssf.read ssf.manage' }) =>
    request(hub.app)
      .post('/oauth/token')
      .auth(client.client_id, client.client_secret)
      .type('form')
      .send({ grant_type: 'client_credentials', ...form })

  const use = (path: string, bearer: string) => request(hub.app).get(path).auth(bearer, { type: 'bearer' })

  it('issues an opaque token of at most an hour that works at once', async () => {
    const client = await register()
    const res = await token(client)
    assert.equal(res.status, 200, res.text)
    assert.equal(res.body.token_type, 'Bearer')
    assert.equal(res.body.scope, 'ssf.read ssf.manage')
    assert.ok(res.body.expires_in <= 3600 && res.body.expires_in > 3500)
    assert.doesNotMatch(res.body.access_token, /\./)
    assert.equal(res.headers['cache-control'], 'no-store')
    const me = await use('/as-manager', res.body.access_token)
    assert.equal(me.status, 200)
    assert.equal(me.body.receiverId, client.id)
    assert.equal(me.body.audience, `${ISSUER}/receivers/${client.id}`)
  })

  it('knows no client that was registered while another server issued the tokens, until it gets a secret', async () => {
    const client = await register()
    await hub.test.db('receivers').where({ id: client.id }).update({ client_secret_hash: null })
    for (const client_secret of [client.client_secret, 'undefined']) {
      const refused = await token({ ...client, client_secret })
      assert.equal(refused.status, 401, refused.text)
      assert.equal(refused.body.error, 'invalid_client')
    }
    const rotated = await request(hub.app)
      .post(`/v1/receivers/${client.id}/rotate`)
      .auth(hub.adminToken, { type: 'bearer' })
    assert.equal((await token({ ...client, ...rotated.body })).status, 200)
  })

  it('keeps no usable token or secret in any column', async () => {
    const client = await register()
    const value = (await token(client)).body.access_token as string
    const dump = JSON.stringify([
      await hub.db('oauth_artifacts').select(),
      await hub.db('receivers').select(),
      await hub.db('audit_log').select(),
    ])
    assert.ok(!dump.includes(value))
    assert.ok(!dump.includes(client.client_secret))
    const hash = createHash('sha256').update(value).digest()
    assert.equal((await hub.db('oauth_artifacts').where({ id_hash: hash })).length, 1)
  })

  it('holds each client to the method it registered, at every endpoint', async () => {
    const forms = {
      '/oauth/token': { grant_type: 'client_credentials', scope: 'ssf.read' },
      '/oauth/introspect': { token: 'x' },
      '/oauth/revoke': { token: 'x' },
    }
    const basic = await register()
    const post = await register({ token_endpoint_auth_method: 'client_secret_post' })
    for (const [path, form] of Object.entries(forms)) {
      const send = () => request(hub.app).post(path).type('form')
      const inHeader = ({ client_id, client_secret }: Client, more: object = {}) =>
        send()
          .auth(client_id, client_secret)
          .send({ ...form, ...more })
      const inBody = ({ client_id, client_secret }: Client) =>
        send().send({ ...form, client_id, client_secret })
      assert.equal((await inHeader(basic)).status, 200, path)
      assert.equal((await inHeader(basic, { client_secret: '' })).status, 200, path)
      assert.equal((await inBody(post)).status, 200, path)
      for (const refused of [await inBody(basic), await inHeader(post)]) {
        assert.equal(refused.status, 401, path)
        assert.equal(refused.body.error, 'invalid_client', path)
      }
    }
  })

  it('registers client_secret_basic unless told otherwise, and only names of the registry', async () => {
    const call = () => request(hub.app).post('/v1/receivers').auth(hub.adminToken, { type: 'bearer' })
    const created = await call().send({ name: 'plain' })
    assert.equal(created.body.token_endpoint_auth_method, 'client_secret_basic')
    const odd = await call().send({ name: 'odd', token_endpoint_auth_method: 'client_secret' })
    assert.equal(odd.status, 400)
    assert.match(odd.body.message, /client_secret_basic, client_secret_post, private_key_jwt/)
  })

  it('refuses a wrong secret, an unknown client and a disabled one alike', async () => {
    const client = await register()
    for (const bad of [
      { ...client, client_secret: 'wrong' },
      { ...client, client_id: '11111111-1111-4111-8111-111111111111' },
      { ...client, client_id: 'a\u0000b' },
    ]) {
      const res = await token(bad)
      assert.ok([400, 401].includes(res.status), String(res.status))
      assert.match(res.body.error, /invalid_(client|request)/)
    }
    await request(hub.app).post(`/v1/receivers/${client.id}/disable`).auth(hub.adminToken, { type: 'bearer' })
    const res = await token(client)
    assert.equal(res.status, 401)
    assert.equal(res.body.error, 'invalid_client')
  })

  it('ends all tokens when the receiver is disabled, rotated or deleted, and revives none', async () => {
    for (const action of ['disable', 'rotate', 'delete']) {
      const client = await register()
      const value = (await token(client)).body.access_token as string
      const issued = await request(hub.app)
        .post(`/v1/receivers/${client.id}/tokens`)
        .auth(hub.adminToken, { type: 'bearer' })
        .send({ scopes: ['ssf.read'] })
      assert.equal((await use('/as-reader', value)).status, 200)
      assert.equal((await use('/as-reader', issued.body.token)).status, 200)
      const admin = request(hub.app)
      const call =
        action === 'delete'
          ? admin.delete(`/v1/receivers/${client.id}`)
          : admin.post(`/v1/receivers/${client.id}/${action}`)
      assert.ok((await call.auth(hub.adminToken, { type: 'bearer' })).status < 300)
      await request(hub.app)
        .post(`/v1/receivers/${client.id}/enable`)
        .auth(hub.adminToken, { type: 'bearer' })
      assert.equal((await use('/as-reader', value)).status, 401, action)
      assert.equal((await use('/as-reader', issued.body.token)).status, 401, action)
    }
  })

  it('refuses an expired token by the clock of the database', async () => {
    const client = await register()
    const value = (await token(client)).body.access_token as string
    await hub.db.raw(
      "update oauth_artifacts set expires_at = now() - interval '1 second' where client_id = ?",
      [client.client_id],
    )
    assert.equal((await use('/as-reader', value)).status, 401)
  })

  it('tells a client about its own tokens only (RFC 7662), and revokes only those (RFC 7009)', async () => {
    const [mine, other] = [await register(), await register()]
    const value = (await token(mine)).body.access_token as string
    const ask = (path: string, client: Client) =>
      request(hub.app)
        .post(path)
        .auth(client.client_id, client.client_secret)
        .type('form')
        .send({ token: value })
    const seen = await ask('/oauth/introspect', mine)
    const { exp, iat, ...members } = seen.body
    assert.deepEqual(members, {
      active: true,
      client_id: mine.client_id,
      iss: ISSUER,
      scope: 'ssf.read ssf.manage',
      token_type: 'Bearer',
    })
    assert.equal(exp - iat, 3_600)
    assert.equal(seen.headers['cache-control'], 'no-store')
    assert.deepEqual((await ask('/oauth/introspect', other)).body, { active: false })
    assert.equal((await ask('/oauth/revoke', other)).status, 200)
    assert.equal((await use('/as-reader', value)).status, 200)
    assert.equal((await ask('/oauth/revoke', mine)).status, 200)
    assert.equal((await use('/as-reader', value)).status, 401)
    assert.deepEqual((await ask('/oauth/introspect', mine)).body, { active: false })
  })

  it('takes a signed assertion once (RFC 7523), and no secret from that client', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
    const client = await register({ token_endpoint_auth_method: 'private_key_jwt', jwks })
    assert.equal(client.client_secret, undefined)
    const sign = (jti: string, aud = `${ISSUER}/oauth/token`) =>
      new SignJWT({ jti })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(aud)
        .setExpirationTime('1 minute')
        .sign(privateKey)
    const send = (client_assertion: string, host = '127.0.0.1:8080') =>
      request(hub.app)
        .post('/oauth/token')
        .set('Host', host)
        .set('X-Forwarded-Host', host)
        .type('form')
        .send({
          grant_type: 'client_credentials',
          scope: 'ssf.read',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion,
        })
    const assertion = await sign('one')
    const first = await send(assertion)
    assert.equal(first.status, 200, first.text)
    assert.equal((await use('/as-reader', first.body.access_token)).status, 200)
    assert.equal((await send(assertion)).status, 401)
    const foreign = await sign('two', 'http://elsewhere.example/oauth/token')
    assert.equal((await send(foreign)).status, 401)
    assert.equal((await send(foreign, 'elsewhere.example')).status, 401)
    const together = await sign('three')
    const statuses = (await Promise.all([1, 2, 3, 4].map(() => send(together)))).map((res) => res.status)
    assert.deepEqual(statuses.sort(), [200, 401, 401, 401])
    assert.equal((await token({ ...client, client_secret: 'guess' })).status, 401)
    // Nor an assertion from a client of a secret, whatever key signed it.
    const other = await register()
    const assertionOfOther = await new SignJWT({ jti: 'five' })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setIssuer(other.client_id)
      .setSubject(other.client_id)
      .setAudience(`${ISSUER}/oauth/token`)
      .setExpirationTime('1 minute')
      .sign(privateKey)
    assert.equal((await send(assertionOfOther)).body.error, 'invalid_client')
    const rekeyed = await request(hub.app)
      .patch(`/v1/receivers/${client.id}`)
      .auth(hub.adminToken, { type: 'bearer' })
      .send({
        jwks: { keys: [{ ...(await exportJWK((await generateKeyPair('ES256')).publicKey)), kid: 'k2' }] },
      })
    assert.equal(rekeyed.status, 200, rekeyed.text)
    assert.equal((await use('/as-reader', first.body.access_token)).status, 401)
    assert.equal((await send(await sign('four'))).status, 401)
  })

  for (const [alg, status] of [
    ['RS256', 200],
    ['PS256', 200],
    ['ES256', 200],
    ['EdDSA', 200],
    ['RS512', 401],
    ['ES384', 401],
  ] as const) {
    it(`answers ${status} to an assertion signed by ${alg}`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(alg)
      const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
      const client = await register({ token_endpoint_auth_method: 'private_key_jwt', jwks })
      const client_assertion = await new SignJWT({ jti: alg })
        .setProtectedHeader({ alg, kid: 'k1' })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(`${ISSUER}/oauth/token`)
        .setExpirationTime('1 minute')
        .sign(privateKey)
      const res = await request(hub.app).post('/oauth/token').type('form').send({
        grant_type: 'client_credentials',
        scope: 'ssf.read',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion,
      })
      assert.equal(res.status, status, res.text)
    })
  }

  it('takes no assertion made for the server that a request line names', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
    const client = await register({ token_endpoint_auth_method: 'private_key_jwt', jwks })
    const server = hub.app.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const send = async (audience: string, target: string): Promise<number> => {
      const assertion = await new SignJWT({ jti: audience + target })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(audience)
        .setExpirationTime('1 minute')
        .sign(privateKey)
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      const { port } = server.address() as AddressInfo
      const call = httpRequest({ port, host: '127.0.0.1', method: 'POST', path: target, headers })
      call.end(
        new URLSearchParams({
          grant_type: 'client_credentials',
          scope: 'ssf.read',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: assertion,
        }).toString(),
      )
      const [res] = (await once(call, 'response')) as [IncomingMessage]
      res.resume()
      return res.statusCode ?? 0
    }
    try {
      const foreign = 'http://elsewhere.example/oauth/token'
      assert.equal(await send(foreign, foreign), 401)
      assert.equal(await send(foreign, `${foreign}?a=b`), 401)
      // RFC 9112 §3.2.2: a server takes the absolute form.
      assert.equal(await send(`${ISSUER}/oauth/token`, foreign), 200)
    } finally {
      server.close()
    }
  })

  it('remembers no assertion for longer than an hour, for it takes none that lasts longer', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
    const client = await register({ token_endpoint_auth_method: 'private_key_jwt', jwks })
    const send = async (lifetime: string) =>
      request(hub.app)
        .post('/oauth/token')
        .type('form')
        .send({
          grant_type: 'client_credentials',
          scope: 'ssf.read',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: await new SignJWT({ jti: lifetime })
            .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
            .setIssuer(client.client_id)
            .setSubject(client.client_id)
            .setAudience(ISSUER)
            .setExpirationTime(lifetime)
            .sign(privateKey),
        })
    const late = await send('3630 seconds')
    assert.equal(late.status, 401)
    assert.equal(late.body.error, 'invalid_client')
    assert.equal((await send('3600 seconds')).status, 200)
    const kept = await hub
      .db('oauth_artifacts')
      .where({ model: 'ReplayDetection' })
      // The library adds what two clocks may differ by.
      .whereRaw("expires_at > now() + interval '3616 s'")
    assert.deepEqual(kept, [])
  })

  it('answers in JSON, whatever is asked for', async () => {
    const client = await register()
    const refused = await token(client, { scope: 'x' }).set('Accept', 'text/html')
    assert.equal(refused.status, 400)
    assert.match(refused.headers['content-type'] ?? '', /^application\/json/)
    assert.deepEqual(refused.body, {
      error: 'invalid_scope',
      error_description: 'scope must be one or both of ssf.read ssf.manage',
      scope: 'x',
    })
  })

  it('grants each scope once, in the order they were asked for', async () => {
    const client = await register()
    const res = await token(client, { scope: 'ssf.manage ssf.read ssf.manage' })
    assert.equal(res.body.scope, 'ssf.manage ssf.read')
  })

  it('says how to authenticate when nobody did', async () => {
    const res = await request(hub.app)
      .post('/oauth/token')
      .type('form')
      .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.equal(res.headers['www-authenticate'], `Basic realm="${ISSUER}"`)
    assert.deepEqual(res.body, {
      error: 'invalid_client',
      error_description: 'no client authentication mechanism provided',
    })
  })

  it('serves nothing else that the library knows', async () => {
    for (const path of [
      '/auth',
      '/oauth/auth',
      '/jwks',
      '/me',
      '/.well-known/openid-configuration',
      '/oauth/jwks',
    ]) {
      assert.equal((await request(hub.app).get(path)).status, 404, path)
    }
    assert.equal((await request(hub.app).get('/oauth/token')).status, 404)
  })
})

describe('auth: authorization server under guesses', () => {
  it('answers 429 to bad secrets above the limit, and a token to a good one', async () => {
    const hub = await createAuthApp({ failures: 2 })
    const made = await request(hub.app)
      .post('/v1/receivers')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'gw' })
    const ask = (secret: string) =>
      request(hub.app)
        .post('/oauth/token')
        .auth(made.body.client_id, secret)
        .type('form')
        .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
    const answers = [await ask('one'), await ask('two'), await ask('three')]
    assert.deepEqual(
      answers.map((res) => res.status),
      [401, 401, 429],
    )
    assert.deepEqual(
      answers.map((res) => res.headers['www-authenticate'] !== undefined),
      [true, true, false],
    )
    assert.equal(answers[2]?.body.error, 'temporarily_unavailable')
    assert.match(answers[2]?.body.error_description ?? '', /Too many failed attempts/)
    const unnamed = await request(hub.app).post('/oauth/revoke').type('form').send({ token: 'x' })
    assert.equal(unnamed.status, 429)
    assert.match(answers[2]?.headers['retry-after'] ?? '', /^\d+$/)
    assert.equal((await ask(made.body.client_secret)).status, 200)
    await hub.close()
  })
})

describe('auth: lifetime of tokens', () => {
  for (const [asked, given] of [
    [60, 60],
    [3_601, 3_600],
  ] as const) {
    it(`is ${given} s when ${asked} s are configured (CAEP interoperability profile §2.7.1)`, async () => {
      const hub = await createAuthApp({ tokenLifetimeS: asked })
      const { body } = await request(hub.app)
        .post('/v1/receivers')
        .auth(hub.adminToken, { type: 'bearer' })
        .send({ name: 'gw' })
      const issued = await request(hub.app)
        .post('/oauth/token')
        .auth(body.client_id, body.client_secret)
        .type('form')
        .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
      assert.equal(issued.body.expires_in, given)
      await hub.close()
    })
  }
})

describe('auth: a fault inside the authorization server', () => {
  it('is told to the log alone', async () => {
    const lines: unknown[][] = []
    const logger = { ...silentLogger, error: (...line: unknown[]) => void lines.push(line) }
    const hub = await createAuthApp({ logger })
    const { body } = await request(hub.app)
      .post('/v1/receivers')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'gw' })
    await hub.db.raw('alter table oauth_artifacts rename to oauth_artifacts_away')
    const res = await request(hub.app)
      .post('/oauth/token')
      .auth(body.client_id, body.client_secret)
      .type('form')
      .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
    assert.deepEqual([res.status, res.body.error], [500, 'server_error'])
    assert.doesNotMatch(res.text, /artifact|relation|postgres/i)
    const [[event, fields] = []] = lines
    assert.equal(lines.length, 1)
    assert.equal(event, 'oauth.failed')
    assert.equal((fields as { path: string }).path, '/oauth/token')
    assert.match((fields as { error: string }).error, /oauth_artifacts/)
    await hub.close()
  })
})

describe('auth: authorization server metadata', () => {
  it("stands between host and the issuer's path and names endpoints below the issuer (RFC 8414 §3.1)", async () => {
    const hub = await createAuthApp({ issuer: 'https://hub.example/t1' })
    const res = await request(hub.app).get('/.well-known/oauth-authorization-server/t1')
    assert.equal(res.status, 200)
    assert.equal(res.headers['cache-control'], 'public, max-age=300')
    assert.equal(res.body.issuer, 'https://hub.example/t1')
    assert.equal(res.body.token_endpoint, 'https://hub.example/t1/oauth/token')
    assert.deepEqual(res.body.scopes_supported, ['ssf.read', 'ssf.manage'])
    assert.deepEqual(res.body.grant_types_supported, ['client_credentials'])
    assert.equal((await request(hub.app).get('/.well-known/oauth-authorization-server')).status, 404)
    await hub.close()
  })

  it("names endpoints that answer, below the issuer's path and at the root, and nothing below another", async () => {
    const issuer = 'https://hub.example/t1'
    const hub = await createAuthApp({ issuer })
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
    const admin = () => request(hub.app).post('/v1/receivers').auth(hub.adminToken, { type: 'bearer' })
    const client = (await admin().send({ name: 'secret' })).body as Client
    const signing = (
      await admin().send({ name: 'signing', token_endpoint_auth_method: 'private_key_jwt', jwks })
    ).body as Client
    const form = { grant_type: 'client_credentials', scope: 'ssf.read' }
    const post = (path: string, fields: object) =>
      request(hub.app).post(path).auth(client.client_id, client.client_secret).type('form').send(fields)
    for (const below of ['/t1', '']) {
      const issued = await post(`${below}/oauth/token`, form)
      assert.equal(issued.status, 200, issued.text)
      const token = issued.body.access_token as string
      const seen = await post(`${below}/oauth/introspect`, { token })
      assert.deepEqual([seen.status, seen.body.active], [200, true])
      assert.equal((await post(`${below}/oauth/revoke`, { token })).status, 200)
      const assertion = await new SignJWT({ jti: `a${below}` })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(signing.client_id)
        .setSubject(signing.client_id)
        .setAudience(`${issuer}/oauth/token`)
        .setIssuedAt()
        .setExpirationTime('1m')
        .sign(privateKey)
      const signed = await request(hub.app)
        .post(`${below}/oauth/token`)
        .type('form')
        .send({
          ...form,
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: assertion,
        })
      assert.equal(signed.status, 200, signed.text)
    }
    assert.equal((await post('/t2/oauth/token', form)).status, 404)
    await hub.close()
  })
})
