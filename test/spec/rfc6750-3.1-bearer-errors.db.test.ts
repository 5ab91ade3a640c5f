import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import request from 'supertest'
import { type AuthHub, describeAuth } from './auth-places.js'

describeAuth('RFC 6750 §3.1: answers to bearer tokens (T-38 to T-45)', ({ open, routes, isInside }) => {
  let hub: AuthHub
  let reader: string
  const name = randomUUID()
  before(async () => {
    hub = await open()
    const admin = <T extends request.Test>(call: T) => call.auth(hub.adminToken, { type: 'bearer' })
    const receiver = await admin(request(hub.app).post('/v1/receivers').send({ name }))
    const issued = await admin(
      request(hub.app)
        .post(`/v1/receivers/${receiver.body.id}/tokens`)
        .send({ scopes: ['ssf.read'] }),
    )
    reader = issued.body.token
  })
  after(() => hub.close())

  const challenge = (res: request.Response) => res.headers['www-authenticate'] ?? ''

  it('challenges with 401 and without an error code when no credentials were sent', async () => {
    for (const path of [routes.reader, routes.operator, routes.caller]) {
      const res = await request(hub.app).get(path)
      assert.equal(res.status, 401)
      assert.match(challenge(res), /^Bearer/)
      assert.doesNotMatch(challenge(res), /error/)
      assert.equal(res.body.code, 'ERR_UNAUTHENTICATED')
    }
  })

  it('takes another scheme for no credentials', async () => {
    const res = await request(hub.app).get(routes.reader).auth('user', 'password')
    assert.equal(res.status, 401)
    assert.doesNotMatch(challenge(res), /error/)
  })

  it('answers an unknown token with 401 invalid_token', async () => {
    for (const path of [routes.reader, routes.operator, routes.caller]) {
      const res = await request(hub.app).get(path).auth('nonsense', { type: 'bearer' })
      assert.equal(res.status, 401)
      assert.match(challenge(res), /^Bearer .*error="invalid_token"/)
    }
  })

  it('answers a missing scope with 403 insufficient_scope and names the scope', async () => {
    const { method, path } = routes.manager
    const res = await request(hub.app)[method](path).auth(reader, { type: 'bearer' })
    assert.equal(res.status, 403)
    assert.match(challenge(res), /^Bearer .*error="insufficient_scope", scope="ssf.manage"/)
    assert.equal((await request(hub.app).get(routes.reader).auth(reader, { type: 'bearer' })).status, 200)
  })

  it('answers malformed credentials with 400 invalid_request', async () => {
    for (const header of ['Bearer', 'Bearer ', 'Bearer a b', 'Bearer "x"', `Bearer ${'x'.repeat(8193)}`]) {
      const res = await request(hub.app).get(routes.reader).set('Authorization', header)
      assert.equal(res.status, 400, header)
      assert.match(challenge(res), /error="invalid_request"/)
    }
  })

  it('never accepts a token in the query, not even beside a good header (T-39)', async () => {
    const alone = await request(hub.app).get(routes.reader).query({ access_token: reader })
    assert.equal(alone.status, 400)
    const both = await request(hub.app)
      .get(routes.reader)
      .query({ access_token: reader })
      .auth(reader, { type: 'bearer' })
    assert.equal(both.status, 400)
  })

  it('accepts the scheme in any case', async () => {
    const res = await request(hub.app).get(routes.reader).set('Authorization', `bEaReR ${reader}`)
    assert.equal(res.status, 200)
  })

  it('refuses two Authorization headers instead of choosing one', async () => {
    const server = typeof hub.app === 'string' ? undefined : createServer(hub.app).listen(0, '127.0.0.1')
    if (server) await once(server, 'listening')
    const port = server ? (server.address() as AddressInfo).port : Number(new URL(String(hub.app)).port)
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1')
      let text = ''
      socket.on('data', (data) => {
        text += data
      })
      socket.on('close', () => resolve(text))
      const auth = `Authorization: Bearer ${reader}\r\n`
      socket.write(`GET ${routes.reader} HTTP/1.1\r\nHost: x\r\n${auth}${auth}Connection: close\r\n\r\n`)
    })
    if (server) await new Promise((resolve) => server.close(resolve))
    assert.match(answer, /^HTTP\/1\.1 400 /)
  })

  it('checks the token before it reads the body (T-45)', async () => {
    const bad = request(hub.app).post('/v1/receivers').auth('nonsense', { type: 'bearer' })
    assert.equal((await bad.type('json').send('{"name":')).status, 401)
    const good = request(hub.app).post('/v1/receivers').auth(hub.adminToken, { type: 'bearer' })
    assert.equal((await good.type('json').send('{"name":')).status, 400)
  })

  it("keeps receivers' and operators' tokens apart, and lets both pass where a caller may be either", async () => {
    const use = (path: string, token: string) => request(hub.app).get(path).auth(token, { type: 'bearer' })
    assert.equal((await use(routes.operator, reader)).status, 401)
    assert.equal((await use(routes.reader, hub.adminToken)).status, 401)
    const [asReader, asAdmin] = [await use(routes.caller, reader), await use(routes.caller, hub.adminToken)]
    assert.deepEqual([asReader.status, asAdmin.status], [200, 200])
    if (!isInside) return
    assert.equal(asReader.body.receiver.name, name)
    assert.equal(asAdmin.body.operator.name, 'admin')
  })
})
