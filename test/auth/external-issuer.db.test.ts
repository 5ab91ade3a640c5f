import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type HubApi, hubApi } from '../support/hub-api.js'
import { ADMIN_TOKEN, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type ScriptedIssuer, startScriptedIssuer } from '../support/scripted-issuer.js'
import { waitUntil } from '../support/wait.js'

const nowS = () => Math.floor(Date.now() / 1000)

describe('auth: access tokens of another issuer', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let issuer: ScriptedIssuer
  let hub: RealHub
  let admin: HubApi

  async function start(env: Record<string, string> = {}): Promise<void> {
    issuer = await startScriptedIssuer('/realms/main')
    database = await createTestDatabase()
    hub = await startRealHub(database.url, { env: { OAUTH_ISSUER: issuer.issuer, ...env } })
    admin = hubApi(() => hub.url, ADMIN_TOKEN)
  }
  async function stop(): Promise<void> {
    await hub?.stop()
    await issuer?.close()
    await database?.close()
  }

  const claims = (more: object = {}) => ({
    iss: issuer.issuer,
    aud: hub.url,
    client_id: 'gateway',
    scope: 'ssf.read ssf.manage openid',
    iat: nowS(),
    exp: nowS() + 600,
    ...more,
  })
  const listStreams = async (token: string) => {
    const answer = await fetch(`${hub.url}/ssf/streams`, { headers: { authorization: `Bearer ${token}` } })
    return {
      status: answer.status,
      challenge: answer.headers.get('www-authenticate'),
      retry: answer.headers.get('retry-after'),
    }
  }
  /** Of a hub that is ready: what it says of the issuer. */
  const readiness = async () => {
    const answer = await fetch(`${hub.managementUrl}/health/ready`)
    assert.equal(answer.status, 200)
    const { reasons } = (await answer.json()) as { reasons: string[] }
    return reasons.find((reason) => reason.startsWith('oauth-issuer: '))
  }
  const createStream = (token: string) =>
    hubApi(() => hub.url, token).ask('POST', '/ssf/streams', { events_requested: [] })

  describe('that are JWTs', () => {
    before(async () => {
      await start()
      await admin.call('POST', '/v1/receivers', { name: 'gateway', client_id: 'gateway' })
      await admin.call('POST', '/v1/receivers', { name: 'other', client_id: 'other' })
    })
    after(stop)

    it('make their client the receiver that was registered for it, with the scopes of the token', async () => {
      assert.equal((await listStreams(await issuer.sign(claims()))).status, 200)
      assert.equal((await createStream(await issuer.sign(claims({ scope: 'ssf.read' })))).status, 403)
      assert.equal((await createStream(await issuer.sign(claims({ scope: undefined })))).status, 403)
      const array = await issuer.sign(claims({ scope: undefined, scp: ['ssf.manage'] }), { typ: 'at+jwt' })
      const made = await hubApi(() => hub.url, array).call<{ stream_id: string; aud: string }>(
        'POST',
        '/ssf/streams',
        {
          events_requested: [],
        },
      )
      const other = await issuer.sign(claims({ client_id: 'other' }))
      const read = await hubApi(() => hub.url, other).ask('GET', `/ssf/streams?stream_id=${made.stream_id}`)
      assert.equal(read.status, 404)
    })

    for (const [why, change, header] of [
      ['when another issued them', { iss: 'https://other.example.com' }],
      ['without an issuer', { iss: undefined }],
      ['when they are for another audience', { aud: 'https://elsewhere.example.com' }],
      ['without an audience', { aud: undefined }],
      ['when they have ended', { iat: nowS() - 700, exp: nowS() - 100 }],
      ['without an end', { exp: undefined }],
      [
        'when they live longer than an hour, for nobody is asked about their revocation',
        { exp: nowS() + 7_200 },
      ],
      ['when they are not good yet', { nbf: nowS() + 600 }],
      ['when their client is no receiver', { client_id: 'stranger' }],
      ['without a client', { client_id: undefined }],
      ['when the name of their client is no text', { client_id: ['gateway'] }],
      ['when they are bound to a key', { cnf: { jkt: 'x' } }],
      ['when they are SETs', {}, { typ: 'secevent+jwt' }],
    ] as [string, object, { typ?: string; kid?: string }?][]) {
      it(`are refused with 401 ${why}`, async () => {
        const { status, challenge } = await listStreams(await issuer.sign(claims(change), header))
        assert.equal(status, 401)
        assert.match(challenge ?? '', /error="invalid_token"/)
      })
    }

    it('are never believed with a key that is not known, and refused once that is certain', async () => {
      const token = await issuer.sign(claims(), { kid: 'unknown' })
      await waitUntil('the refusal', async () => {
        const { status } = await listStreams(token)
        assert.ok([401, 503].includes(status), String(status))
        return status === 401
      })
    })

    it('are refused with a changed signature, without one, and with a secret for a key', async () => {
      const [header = '', payload = ''] = (await issuer.sign(claims())).split('.')
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      for (const token of [
        `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
        `${part({ alg: 'none' })}.${payload}.`,
        `${part({ alg: 'HS256', kid: 'key-1' })}.${payload}.${Buffer.alloc(32).toString('base64url')}`,
        'opaque-token-that-nobody-issued',
      ]) {
        assert.equal((await listStreams(token)).status, 401)
      }
    })

    it('end with their receiver', async () => {
      const receiver = await admin.call<{ id: string; client_secret?: string; token_issuer: string }>(
        'POST',
        '/v1/receivers',
        { name: 'brief', client_id: 'brief' },
      )
      assert.equal(receiver.client_secret, undefined)
      assert.equal(receiver.token_issuer, issuer.issuer)
      const token = await issuer.sign(claims({ client_id: 'brief' }))
      assert.equal((await listStreams(token)).status, 200)
      await admin.call('POST', `/v1/receivers/${receiver.id}/disable`)
      assert.equal((await listStreams(token)).status, 401)
      assert.equal((await admin.ask('POST', `/v1/receivers/${receiver.id}/rotate`)).status, 409)
    })

    it('name no receiver that was not registered by its client, and which gets no secret that nothing takes', async () => {
      const { id, client_id, client_secret } = await admin.call<{
        id: string
        client_id: string
        client_secret?: string
      }>('POST', '/v1/receivers', { name: 'own' })
      assert.equal(client_secret, undefined)
      assert.equal((await admin.ask('POST', `/v1/receivers/${id}/rotate`)).status, 409)
      assert.equal((await listStreams(await issuer.sign(claims({ client_id })))).status, 401)
    })

    it('leave tokens that an operator issued as they are', async () => {
      const { id } = await admin.call<{ id: string }>('POST', '/v1/receivers', { name: 'by hand' })
      const { token } = await admin.call<{ token: string }>('POST', `/v1/receivers/${id}/tokens`, {
        scopes: ['ssf.read'],
      })
      assert.equal((await listStreams(token)).status, 200)
    })

    it('take the place of the hub’s own authorization server, and the hub says whose they are', async () => {
      const ask = (path: string, init?: RequestInit) => fetch(hub.url + path, init)
      assert.equal((await ask('/.well-known/oauth-authorization-server')).status, 404)
      assert.equal((await ask('/oauth/token', { method: 'POST' })).status, 404)
      const metadata = await ask('/.well-known/oauth-protected-resource')
      assert.deepEqual(await metadata.json(), {
        resource: hub.url,
        authorization_servers: [issuer.issuer],
        scopes_supported: ['ssf.read', 'ssf.manage'],
        bearer_methods_supported: ['header'],
      })
    })

    it('are registered once each, and refused with what makes no sense', async () => {
      const add = (body: object) => admin.ask('POST', '/v1/receivers', body)
      assert.equal((await add({ name: 'again', client_id: 'gateway' })).status, 409)
      for (const client_id of ['', 7, 'x'.repeat(201), 'a\0b']) {
        assert.equal((await add({ name: 'odd', client_id })).status, 400)
      }
      const keys = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'EC' }] } }
      assert.equal((await add({ name: 'odd', client_id: 'odd', ...keys })).status, 400)
    })

    it('hold after the issuer changed its keys, and while it is away', async () => {
      await issuer.rotate()
      const token = await issuer.sign(claims())
      await waitUntil('the new key counts', async () => (await listStreams(token)).status === 200)
      issuer.isUp = false
      try {
        assert.equal((await listStreams(token)).status, 200)
        // Whether the issuer has such a key cannot be told now.
        const { status, retry } = await listStreams(await issuer.sign(claims(), { kid: 'newer' }))
        assert.equal(status, 503)
        assert.ok(Number(retry) > 0)
        assert.match((await readiness()) ?? '', /did not answer since .* calls with its tokens get 503/)
      } finally {
        issuer.isUp = true
      }
      assert.equal((await listStreams(token)).status, 200)
      assert.equal(await readiness(), undefined)
    })
  })

  describe('that it is asked about', () => {
    before(async () => {
      issuer = await startScriptedIssuer()
      const { issuer: url, introspectionEndpoint } = issuer
      database = await createTestDatabase()
      hub = await startRealHub(database.url, {
        env: {
          OAUTH_ISSUER: url,
          OAUTH_AUDIENCE: 'hub',
          OAUTH_JWKS_URI: `${url}/keys`,
          OAUTH_CLIENT_CLAIM: 'azp',
          OAUTH_INTROSPECTION_ENDPOINT: introspectionEndpoint,
          OAUTH_INTROSPECTION_CLIENT_ID: 'the hub',
          OAUTH_INTROSPECTION_CLIENT_SECRET: 'p:ss',
        },
      })
      admin = hubApi(() => hub.url, ADMIN_TOKEN)
      await admin.call('POST', '/v1/receivers', { name: 'gateway', client_id: 'gateway' })
    })
    after(stop)

    const mine = (more: object = {}) =>
      claims({ aud: ['hub', 'x'], azp: 'gateway', client_id: 'other', ...more })

    it('count while active, and end within seconds of their revocation', async () => {
      const token = await issuer.sign(mine())
      assert.equal((await listStreams(await issuer.sign(mine({ jti: 'unknown' })))).status, 401)
      issuer.active.set(token, { azp: 'gateway' })
      assert.equal((await listStreams(token)).status, 200)
      const asked = issuer.seen.find(({ form }) => form.get('token') === token)
      assert.equal(asked?.authorization, `Basic ${Buffer.from('the+hub:p%3Ass').toString('base64')}`)
      assert.equal(asked?.form.get('token_type_hint'), 'access_token')
      issuer.active.delete(token)
      await waitUntil('the revocation holds', async () => (await listStreams(token)).status === 401, {
        deadlineMs: 20_000,
      })
    })

    it('may be opaque, and live as long as the issuer says', async () => {
      const good = { iss: issuer.issuer, aud: 'hub', azp: 'gateway', scope: 'ssf.read', exp: nowS() + 86_400 }
      const opaque = (name: string, change: object = {}) => {
        issuer.active.set(`opaque-${name}`, { ...good, ...change })
        return `opaque-${name}`
      }
      assert.equal((await listStreams(opaque('good'))).status, 200)
      for (const [name, change] of Object.entries({
        'of-another-issuer': { iss: 'https://other.example.com' },
        'for-another': { aud: 'elsewhere' },
        'for-nobody': { aud: undefined },
        'of-a-stranger': { azp: 'stranger' },
        ended: { exp: nowS() - 1 },
        bound: { cnf: { jkt: 'x' } },
      })) {
        assert.equal((await listStreams(opaque(name, change))).status, 401, name)
      }
      const long = await issuer.sign(mine({ exp: nowS() + 86_400 }))
      issuer.active.set(long, {})
      assert.equal((await listStreams(long)).status, 200)
    })

    it('do not count when introspection speaks of another client', async () => {
      const token = await issuer.sign(mine({ jti: 'mixed up' }))
      issuer.active.set(token, { azp: 'other' })
      assert.equal((await listStreams(token)).status, 401)
    })

    it('are answered 503 while it cannot be asked, and never believed', async () => {
      const token = await issuer.sign(mine({ jti: 'unanswered' }))
      issuer.active.set(token, {})
      issuer.isUp = false
      try {
        const { status, retry } = await listStreams(token)
        assert.equal(status, 503)
        assert.ok(Number(retry) > 0)
      } finally {
        issuer.isUp = true
      }
      assert.equal((await listStreams(token)).status, 200)
    })

    it('are not asked about once an address sent too many bad ones, which keeps nobody else out', async () => {
      const known = 'opaque-before-the-block'
      issuer.active.set(known, { aud: 'hub', azp: 'gateway', scope: 'ssf.read' })
      assert.equal((await listStreams(known)).status, 200)
      await waitUntil('the block', async () => (await listStreams(`guess-${randomUUID()}`)).status === 429)
      const before = issuer.seen.length
      for (let n = 0; n < 5; n += 1) assert.equal((await listStreams(`late-guess-${n}`)).status, 429)
      assert.equal(issuer.seen.length, before)
      const signed = await issuer.sign(mine({ jti: 'of a neighbour' }))
      issuer.active.set(signed, {})
      for (const token of [known, signed]) assert.equal((await listStreams(token)).status, 200)
    })
  })
})
