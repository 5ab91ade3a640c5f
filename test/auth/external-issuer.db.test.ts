import assert from 'node:assert/strict'
import request from 'supertest'
import type { ExternalTokens } from '../../src/auth/external-tokens.js'
import { loadConfig } from '../../src/config/config.js'
import { openExternalTokens } from '../../src/hub-oauth.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { manualClock } from '../ingest/ingest-fixture.js'
import { type ScriptedIssuer, startScriptedIssuer } from '../support/scripted-issuer.js'
import { type AuthApp, createAuthApp, ISSUER } from './auth-app.js'

const FAILURES = 60

describe('auth: access tokens of another issuer', () => {
  let issuer: ScriptedIssuer
  let clock: ReturnType<typeof manualClock>
  let outgoing: Outgoing
  let external: ExternalTokens
  let hub: AuthApp

  /** Wired as the hub does it, on a clock that only the test moves. */
  async function start(path: string, settings: (issuer: ScriptedIssuer) => Record<string, string>) {
    issuer = await startScriptedIssuer(path)
    clock = manualClock()
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })
    const shared = { clock: Object.assign(createClock(), clock), logger: silentLogger, outgoing }
    const config = loadConfig({ OAUTH_ISSUER: issuer.issuer, ...settings(issuer) })
    const keys = createIssuerKeys({ ...shared, metrics: createMetrics() })
    external = openExternalTokens({ ...shared, config, issuer: ISSUER }, keys) ?? assert.fail('no issuer')
    hub = await createAuthApp({ external, clock, failures: FAILURES })
  }
  async function stop(): Promise<void> {
    await hub?.close()
    await outgoing?.close()
    await issuer?.close()
  }

  const nowS = () => Math.floor(clock.now() / 1000)
  const claims = (more: object = {}) => ({
    iss: issuer.issuer,
    aud: ISSUER,
    client_id: 'gateway',
    scope: 'ssf.read ssf.manage openid',
    iat: nowS(),
    exp: nowS() + 600,
    ...more,
  })
  const admin = (method: 'post' | 'get', path: string, body?: object) =>
    request(hub.app)[method](`/v1/receivers${path}`).auth(hub.adminToken, { type: 'bearer' }).send(body)
  const use = (token: string, path = '/as-reader') =>
    request(hub.app).get(path).auth(token, { type: 'bearer' })
  const statusOf = async (token: string, path?: string) => (await use(token, path)).status
  /** A key that was fetched in this same millisecond is as new as the token. */
  const later = () => clock.advance(1)

  describe('that are JWTs', () => {
    before(async () => {
      await start('/realms/main', () => ({}))
      for (const name of ['gateway', 'other']) {
        assert.equal((await admin('post', '', { name, client_id: name })).status, 201)
      }
    })
    after(stop)

    it('make their client the receiver that was registered for it, with the scopes of the token', async () => {
      const me = await use(await issuer.sign(claims()))
      assert.deepEqual(
        [me.status, me.body.name, me.body.scopes],
        [200, 'gateway', ['ssf.read', 'ssf.manage']],
      )
      const reads = await issuer.sign(claims({ scope: 'ssf.read' }))
      assert.deepEqual([await statusOf(reads), await statusOf(reads, '/as-manager')], [200, 403])
      assert.equal(await statusOf(await issuer.sign(claims({ scope: undefined }))), 403)
      const array = await issuer.sign(claims({ scope: undefined, scp: ['ssf.manage'] }), { typ: 'at+jwt' })
      assert.equal(await statusOf(array, '/as-manager'), 200)
      const other = await use(await issuer.sign(claims({ client_id: 'other' })))
      assert.equal(other.body.name, 'other')
    })

    for (const [why, change, header] of [
      ['when another issued them', { iss: 'https://other.example.com' }],
      ['without an issuer', { iss: undefined }],
      ['when they are for another audience', { aud: 'https://elsewhere.example.com' }],
      ['without an audience', { aud: undefined }],
      ['when they have ended', { iat: -700, exp: -100 }],
      ['without an end', { exp: undefined }],
      ['when they live longer than an hour, for nobody is asked about their revocation', { exp: 7_200 }],
      ['when they are not good yet', { nbf: 600 }],
      ['when their client is no receiver', { client_id: 'stranger' }],
      ['without a client', { client_id: undefined }],
      ['when the name of their client is no text', { client_id: ['gateway'] }],
      ['when they are bound to a key', { cnf: { jkt: 'x' } }],
      ['when they are SETs', {}, { typ: 'secevent+jwt' }],
    ] as [string, object, { typ?: string; kid?: string }?][]) {
      it(`are refused with 401 ${why}`, async () => {
        // Numbers are seconds from now.
        const entries = Object.entries(change).map(([name, value]) => [
          name,
          typeof value === 'number' ? nowS() + value : value,
        ])
        const res = await use(await issuer.sign(claims(Object.fromEntries(entries)), header))
        assert.equal(res.status, 401)
        assert.match(res.headers['www-authenticate'] ?? '', /error="invalid_token"/)
      })
    }

    it('are never believed with a key that is not known, and refused once that is certain', async () => {
      assert.equal(await statusOf(await issuer.sign(claims())), 200)
      later()
      const token = await issuer.sign(claims(), { kid: 'unknown' })
      const uncertain = await use(token)
      assert.equal(uncertain.status, 503)
      assert.match(uncertain.headers['retry-after'] ?? '', /^[1-9]\d*$/)
      clock.advance(5_000)
      assert.equal(await statusOf(token), 401)
    })

    it('are refused with a changed signature, without one, and with a secret for a key', async () => {
      const [header = '', payload = ''] = (await issuer.sign(claims())).split('.')
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
      clock.advance(5_000)
      for (const token of [
        `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
        `${part({ alg: 'none' })}.${payload}.`,
        `${part({ alg: 'HS256', kid: 'key-1' })}.${payload}.${Buffer.alloc(32).toString('base64url')}`,
        'opaque-token-that-nobody-issued',
      ]) {
        assert.equal(await statusOf(token), 401)
      }
    })

    it('end with their receiver', async () => {
      const { body } = await admin('post', '', { name: 'brief', client_id: 'brief' })
      assert.deepEqual([body.client_secret, body.token_issuer], [undefined, issuer.issuer])
      const token = await issuer.sign(claims({ client_id: 'brief' }))
      assert.equal(await statusOf(token), 200)
      await admin('post', `/${body.id}/disable`)
      assert.equal(await statusOf(token), 401)
      const rotated = await admin('post', `/${body.id}/rotate`)
      assert.equal(rotated.status, 409)
      assert.match(rotated.body.message, /client of the configured issuer/)
    })

    it('name no receiver that was not registered by its client, and which gets no secret that nothing takes', async () => {
      const { body } = await admin('post', '', { name: 'own' })
      assert.deepEqual([body.client_secret, body.token_issuer], [undefined, undefined])
      const rotated = await admin('post', `/${body.id}/rotate`)
      assert.equal(rotated.status, 409)
      assert.match(rotated.body.message, /OAUTH_ISSUER/)
      assert.equal(await statusOf(await issuer.sign(claims({ client_id: body.client_id }))), 401)
    })

    it('count for a client of their own issuer alone', async () => {
      const { body } = await admin('post', '', { name: 'moved', client_id: 'moved' })
      const token = await issuer.sign(claims({ client_id: 'moved' }))
      assert.equal(await statusOf(token), 200)
      await hub.db('receivers').where({ id: body.id }).update({ token_issuer: 'https://before.example.com' })
      assert.equal(await statusOf(token), 401)
    })

    it('leave tokens that an operator issued as they are', async () => {
      const { body } = await admin('post', '', { name: 'by hand' })
      const issued = await admin('post', `/${body.id}/tokens`, { scopes: ['ssf.read'] })
      assert.equal(await statusOf(issued.body.token), 200)
    })

    it('have clients that are registered once each, and refused with what makes no sense', async () => {
      const add = (body: object) => admin('post', '', body)
      const again = await add({ name: 'again', client_id: 'gateway' })
      assert.equal(again.status, 409)
      assert.match(again.body.message, /name again or the client_id gateway/)
      assert.equal((await add({ name: 'longest', client_id: 'x'.repeat(200) })).status, 201)
      for (const client_id of ['', 7, 'x'.repeat(201), 'a\0b']) {
        assert.equal((await add({ name: 'odd', client_id })).status, 400)
      }
      const keys = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'EC' }] } }
      const keyed = await add({ name: 'odd', client_id: 'odd', ...keys })
      assert.equal(keyed.status, 400)
      assert.match(keyed.body.message, /keeps its keys there/)
    })

    it('hold after the issuer changed its keys, and while it is away', async () => {
      assert.equal(await statusOf(await issuer.sign(claims())), 200)
      await issuer.rotate()
      const token = await issuer.sign(claims())
      clock.advance(5_000)
      assert.equal(await statusOf(token), 200)
      assert.deepEqual(external.health(), { ok: true })
      issuer.isUp = false
      try {
        clock.advance(5_000)
        assert.equal(await statusOf(token), 200)
        // Whether the issuer has such a key cannot be told now.
        const res = await use(await issuer.sign(claims(), { kid: 'newer' }))
        assert.equal(res.status, 503)
        assert.ok(Number(res.headers['retry-after']) > 0)
        assert.match(external.health().reason ?? '', /did not answer since .* calls with its tokens get 503/)
      } finally {
        issuer.isUp = true
      }
      assert.equal(await statusOf(token), 200)
      assert.deepEqual(external.health(), { ok: true })
    })
  })

  describe('that it is asked about', () => {
    before(async () => {
      await start('', ({ issuer: url, introspectionEndpoint }) => ({
        OAUTH_AUDIENCE: 'hub',
        OAUTH_JWKS_URI: `${url}/keys`,
        OAUTH_CLIENT_CLAIM: 'azp',
        OAUTH_INTROSPECTION_ENDPOINT: introspectionEndpoint,
        OAUTH_INTROSPECTION_CLIENT_ID: 'the hub',
        OAUTH_INTROSPECTION_CLIENT_SECRET: 'p:ss',
      }))
      await admin('post', '', { name: 'gateway', client_id: 'gateway' })
    })
    after(stop)

    const mine = (more: object = {}) =>
      claims({ aud: ['hub', 'x'], azp: 'gateway', client_id: 'other', ...more })

    it('count while active, and end within seconds of their revocation', async () => {
      const token = await issuer.sign(mine())
      assert.equal(await statusOf(await issuer.sign(mine({ jti: 'unknown' }))), 401)
      issuer.active.set(token, { azp: 'gateway' })
      assert.equal(await statusOf(token), 200)
      const asked = issuer.seen.find(({ form }) => form.get('token') === token)
      assert.equal(asked?.line, 'POST /introspect')
      assert.equal(asked?.authorization, `Basic ${Buffer.from('the+hub:p%3Ass').toString('base64')}`)
      assert.equal(asked?.form.get('token_type_hint'), 'access_token')
      issuer.active.delete(token)
      clock.advance(4_999)
      assert.equal(await statusOf(token), 200)
      clock.advance(1)
      assert.equal(await statusOf(token), 401)
    })

    it('may be opaque, and live as long as the issuer says', async () => {
      const good = { iss: issuer.issuer, aud: 'hub', azp: 'gateway', scope: 'ssf.read', exp: nowS() + 86_400 }
      const opaque = (name: string, change: object = {}) => {
        issuer.active.set(`opaque-${name}`, { ...good, ...change })
        return `opaque-${name}`
      }
      assert.equal(await statusOf(opaque('good')), 200)
      for (const [name, change] of Object.entries({
        'of-another-issuer': { iss: 'https://other.example.com' },
        'for-another': { aud: 'elsewhere' },
        'for-nobody': { aud: undefined },
        'of-a-stranger': { azp: 'stranger' },
        ended: { exp: nowS() - 1 },
        bound: { cnf: { jkt: 'x' } },
      })) {
        assert.equal(await statusOf(opaque(name, change)), 401, name)
      }
      const long = await issuer.sign(mine({ exp: nowS() + 86_400 }))
      issuer.active.set(long, {})
      assert.equal(await statusOf(long), 200)
    })

    it('do not count when introspection speaks of another client', async () => {
      const token = await issuer.sign(mine({ jti: 'mixed up' }))
      issuer.active.set(token, { azp: 'other' })
      assert.equal(await statusOf(token), 401)
    })

    it('are answered 503 while it cannot be asked, and never believed', async () => {
      const token = await issuer.sign(mine({ jti: 'unanswered' }))
      issuer.active.set(token, {})
      issuer.isUp = false
      try {
        const res = await use(token)
        assert.equal(res.status, 503)
        assert.ok(Number(res.headers['retry-after']) > 0)
      } finally {
        issuer.isUp = true
      }
      assert.equal(await statusOf(token), 200)
    })

    it('are not asked about once an address sent too many bad ones, which keeps nobody else out', async () => {
      const known = 'opaque-before-the-block'
      issuer.active.set(known, { aud: 'hub', azp: 'gateway', scope: 'ssf.read' })
      assert.equal(await statusOf(known), 200)
      let guesses = 0
      while ((await statusOf(`guess-${guesses}`)) === 401) guesses += 1
      assert.ok(guesses > 0 && guesses <= FAILURES)
      const before = issuer.seen.length
      for (let n = 0; n < 5; n += 1) assert.equal(await statusOf(`late-guess-${n}`), 429)
      assert.equal(issuer.seen.length, before)
      const signed = await issuer.sign(mine({ jti: 'of a neighbour' }))
      issuer.active.set(signed, {})
      for (const token of [known, signed]) assert.equal(await statusOf(token), 200)
    })
  })
})
