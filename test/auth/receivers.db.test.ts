import assert from 'node:assert/strict'
import request from 'supertest'
import { createArtifactRepository } from '../../src/auth/oauth-artifacts.js'
import { hashSecret } from '../../src/auth/secrets.js'
import { manualClock } from '../ingest/ingest-fixture.js'
import { type AuthApp, createAuthApp, ISSUER } from './auth-app.js'

const NOBODY = '11111111-1111-4111-8111-111111111111'
const SOURCE = '22222222-2222-4222-8222-222222222222'

describe('auth: receivers', () => {
  const clock = manualClock()
  let hub: AuthApp
  const seen: string[] = []
  before(async () => {
    hub = await createAuthApp({
      clock,
      observer: {
        changing: async (trx, receiver) => {
          const row = await trx('receivers').where({ id: receiver.id }).first()
          seen.push(`changing ${row.name} ${row.enabled}`)
        },
        deleting: async (trx, receiver) => {
          assert.ok(await trx('receivers').where({ id: receiver.id }).first())
          seen.push(`deleting ${receiver.name}`)
        },
        changed: async () => void seen.push('changed'),
      },
    })
    await hub.db('transmitters').insert({
      id: SOURCE,
      name: 'idp',
      issuer: 'https://idp.example',
      audience: ['hub'],
      algorithms: ['RS256'],
    })
  })
  after(() => hub.close())

  const call = (method: 'get' | 'post' | 'patch' | 'delete', path: string) =>
    request(hub.app)[method](`/v1/receivers${path}`).auth(hub.adminToken, { type: 'bearer' })
  const add = async (body: object) => {
    const res = await call('post', '').send(body)
    assert.equal(res.status, 201, res.text)
    return res.body
  }

  it('registers with a name alone: all types, all sources, all subjects', async () => {
    const body = await add({ name: 'plain' })
    assert.equal(body.audience, `${ISSUER}/receivers/${body.id}`)
    assert.match(body.client_secret, /^fbk_cs_/)
    assert.deepEqual(body.grants, { event_types: null, sources: null })
    assert.equal(body.default_subjects, 'ALL')
    assert.deepEqual(body.reports, [])
    const read = await call('get', `/${body.id}`)
    const { client_secret: _shownOnce, ...rest } = body
    assert.deepEqual(read.body, rest)
  })

  it('takes sources by id or by name and keeps ids', async () => {
    const body = await add({
      name: 'granted',
      grants: {
        event_types: ['https://schemas.openid.net/secevent/caep/event-type/session-revoked'],
        sources: ['idp'],
      },
      default_subjects: 'NONE',
      reports: ['applied'],
      compatibility: { accept_max_events: true, accept_any_2xx: false },
      signing_alg: 'ES256',
    })
    assert.deepEqual(body.grants.sources, [SOURCE])
    const again = await call('patch', `/${body.id}`).send({ grants: { sources: [SOURCE] } })
    assert.deepEqual(again.body.grants, body.grants)
    const sources = ['idp', 'nobody', 'none']
    const unknown = await call('patch', `/${body.id}`).send({ grants: { sources } })
    assert.equal(unknown.status, 400)
    assert.equal(
      unknown.body.message,
      'grants.sources names no transmitter: nobody, none; register it first.',
    )
    const twice = await call('patch', `/${body.id}`).send({ grants: { sources: [SOURCE, 'idp'] } })
    assert.deepEqual(twice.body.grants.sources, [SOURCE])
    const none = await call('patch', `/${body.id}`).send({ grants: { sources: [] } })
    assert.deepEqual(none.body.grants, { ...body.grants, sources: [] })
    const all = await call('patch', `/${body.id}`).send({ grants: { event_types: null, sources: null } })
    assert.deepEqual(all.body.grants, { event_types: null, sources: null })
    assert.deepEqual(all.body.compatibility, { accept_max_events: true })
  })

  it('changes what a patch names, raises the version and tells other rooms in the same transaction', async () => {
    const { id } = await add({ name: 'before', reports: ['applied'] })
    const version = async () => (await hub.db('receivers').where({ id }).first()).version
    const first = await version()
    seen.length = 0
    const res = await call('patch', `/${id}`).send({ name: 'after' })
    assert.deepEqual([res.body.name, res.body.reports], ['after', ['applied']])
    assert.equal(await version(), first + 1)
    assert.deepEqual(seen, ['changing after true', 'changed'])
    seen.length = 0
    await call('post', `/${id}/disable`)
    await call('post', `/${id}/disable`)
    await call('delete', `/${id}`)
    assert.deepEqual(seen, ['changing after false', 'changed', 'changed', 'deleting after', 'changed'])
  })

  it('refuses bad registrations and says everything that is wrong', async () => {
    const res = await call('post', '').send({
      colour: 'red',
      default_subjects: 'SOME',
      grants: { issuers: [] },
    })
    assert.equal(res.status, 400)
    for (const text of [
      /name is required/,
      /colour is not known/,
      /ALL, NONE/,
      /grants\.issuers is not known/,
    ]) {
      assert.match(res.body.message, text)
    }
    for (const extra of [
      { reports: ['verified'] },
      { reports: 'applied' },
      { grants: { event_types: ['not a uri'] } },
      { grants: { sources: [''] } },
      { compatibility: { deep: { er: 1 } } },
      { compatibility: { accept_max_events: 'yes' } },
      { compatibility: ['accept_max_events'] },
      { profile: 'caep' },
      { profile: 7 },
      { inactivity_timeout_s: 59 },
      { inactivity_timeout_s: 60.5 },
      { inactivity_timeout_s: -1 },
      { signing_alg: 'none' },
      { token_endpoint_auth_method: 'none' },
      { token_endpoint_auth_method: 'private_key_jwt' },
      { jwks: { keys: [{ kty: 'EC' }] } },
      {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [{ kty: 'RSA', n: 'x', e: 'AQAB', d: 'x' }] },
      },
      { client_id: 'mine' },
      { audience: 'mine' },
    ]) {
      const bad = await call('post', '').send({ name: 'bad', ...extra })
      assert.equal(bad.status, 400, JSON.stringify(extra))
    }
    assert.equal((await call('post', '').type('json').send('{"name":"cut')).status, 400)
    assert.equal((await call('post', '')).status, 400)
    const long = await call('post', '').send({ name: 'x', profile: 'y'.repeat(100_000) })
    assert.equal(long.status, 413)
    assert.equal(await hub.db('receivers').where({ name: 'bad' }).first(), undefined)
  })

  it('parses a body that comes without a Content-Type (T-57)', async () => {
    const res = await call('post', '').set('Content-Type', '').send('{"name":"untyped"}')
    assert.equal(res.status, 201, res.text)
  })

  it('refuses a name twice, also by a patch', async () => {
    const { id } = await add({ name: 'first' })
    await add({ name: 'second' })
    assert.equal((await call('post', '').send({ name: 'first' })).status, 409)
    assert.equal((await call('patch', `/${id}`).send({ name: 'second' })).status, 409)
    assert.equal((await call('patch', `/${id}`).send({ name: 'first' })).status, 200)
  })

  it('answers 404 for an unknown or impossible id on every route', async () => {
    for (const id of [NOBODY, 'x', '%00']) {
      assert.equal((await call('get', `/${id}`)).status, 404)
      assert.equal((await call('patch', `/${id}`).send({ name: 'n' })).status, 404)
      assert.equal((await call('delete', `/${id}`)).status, 404)
      for (const action of ['rotate', 'enable', 'disable']) {
        assert.equal((await call('post', `/${id}/${action}`)).status, 404, action)
      }
      assert.equal((await call('get', `/${id}/tokens`)).status, 404)
      assert.equal((await call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'] })).status, 404)
      assert.equal((await call('delete', `/${id}/tokens/${NOBODY}`)).status, 404)
    }
  })

  it('issues long-lived tokens, lists them without their value and revokes one at a time', async () => {
    const { id } = await add({ name: 'tokens' })
    const other = await add({ name: 'other' })
    const issue = () =>
      call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'], expires_at: '2999-01-01T00:00:00Z' })
    const [one, two] = [(await issue()).body, (await issue()).body]
    assert.equal(one.expires_at, '2999-01-01T00:00:00.000Z')
    const use = async (token: string) =>
      (await request(hub.app).get('/as-reader').auth(token, { type: 'bearer' })).status
    assert.equal(await use(one.token), 200)
    const list = await call('get', `/${id}/tokens`)
    assert.equal(list.body.items.length, 2)
    assert.ok(!list.text.includes('fbk_rt_'))
    assert.equal((await call('delete', `/${other.id}/tokens/${one.id}`)).status, 404)
    assert.equal((await call('delete', `/${id}/tokens/${one.id}`)).status, 204)
    assert.equal(await use(one.token), 401)
    assert.equal(await use(two.token), 200)
    await hub.db.raw("update receiver_tokens set expires_at = now() - interval '1 second' where id = ?", [
      two.id,
    ])
    assert.equal(await use(two.token), 401)
  })

  it("does not let a disabled receiver's token pass, even if it was left behind", async () => {
    const { id, client_id } = await add({ name: 'left-behind' })
    const { token } = (await call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'] })).body
    await hub.db('oauth_artifacts').insert({
      model: 'ClientCredentials',
      id_hash: hashSecret('left'),
      client_id,
      payload: { scope: 'ssf.read' },
      expires_at: new Date(Date.now() + 60_000),
    })
    const statuses = async () => {
      const uses = [token, 'left'].map((value) =>
        request(hub.app).get('/as-reader').auth(value, { type: 'bearer' }),
      )
      return (await Promise.all(uses)).map((res) => res.status)
    }
    assert.deepEqual(await statuses(), [200, 200])
    await hub.db('receivers').where({ id }).update({ enabled: false })
    assert.deepEqual(await statuses(), [401, 401])
  })

  it('refuses bad token requests and tokens for a disabled receiver', async () => {
    const { id } = await add({ name: 'no-tokens' })
    for (const body of [
      {},
      { scopes: [] },
      { scopes: ['ssf.kill'] },
      { scopes: ['ssf.read', 'ssf.read'] },
      { scopes: 'ssf.read' },
      { scopes: ['ssf.read'], expires_at: '2001-01-01T00:00:00Z' },
      { scopes: ['ssf.read'], expires_at: 5 },
      { scopes: ['ssf.read'], forever: true },
    ]) {
      assert.equal((await call('post', `/${id}/tokens`).send(body)).status, 400, JSON.stringify(body))
    }
    await call('post', `/${id}/disable`)
    assert.equal((await call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'] })).status, 409)
  })

  it('issues a token until a millisecond from now, and none until now', async () => {
    const { id } = await add({ name: 'brief tokens' })
    const issue = (ms: number) =>
      call('post', `/${id}/tokens`).send({
        scopes: ['ssf.read'],
        expires_at: new Date(clock.now() + ms).toISOString(),
      })
    const refused = await issue(0)
    assert.equal(refused.status, 400)
    assert.equal(refused.body.message, 'expires_at must be in the future.')
    const taken = await issue(1)
    assert.equal(taken.status, 201)
    assert.equal(taken.body.created_at, new Date(clock.now()).toISOString())
    const forGood = await call('post', `/${id}/tokens`).send({ scopes: ['ssf.manage'], expires_at: null })
    assert.equal(forGood.body.expires_at, null)
  })

  it('keeps secret and key apart: each has its own members, and neither becomes the other', async () => {
    const jwks = { keys: [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y', kid: 'k1' }] }
    const keyed = await add({ name: 'keyed', token_endpoint_auth_method: 'private_key_jwt', jwks })
    assert.deepEqual([keyed.jwks, keyed.client_secret], [jwks, undefined])
    const secret = await add({ name: 'with a secret', token_endpoint_auth_method: 'client_secret_post' })
    assert.match(secret.client_secret, /^fbk_cs_/)
    const REFUSED: [id: string, change: object, message: RegExp][] = [
      [secret.id, { jwks }, /jwks is only for token_endpoint_auth_method private_key_jwt/],
      [secret.id, { token_endpoint_auth_method: 'private_key_jwt', jwks }, /cannot change between/],
      [keyed.id, { token_endpoint_auth_method: 'client_secret_basic' }, /cannot change between/],
    ]
    for (const [id, change, message] of REFUSED) {
      const res = await call('patch', `/${id}`).send(change)
      assert.equal(res.status, 400, JSON.stringify(change))
      assert.match(res.body.message, message)
    }
    const rotated = await call('post', `/${keyed.id}/rotate`)
    assert.equal(rotated.status, 409)
    assert.match(rotated.body.message, /authenticates with its own key/)
    for (const [id, method] of [
      [secret.id, 'client_secret_basic'],
      [keyed.id, 'private_key_jwt'],
    ]) {
      const res = await call('patch', `/${id}`).send({ token_endpoint_auth_method: method })
      assert.deepEqual([res.status, res.body.token_endpoint_auth_method], [200, method])
    }
  })

  it('ends no token by a change that is neither of keys nor of enablement', async () => {
    const { id } = await add({ name: 'renamed' })
    const { token } = (await call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'] })).body
    assert.equal((await call('post', `/${id}/enable`)).status, 200)
    assert.equal((await call('patch', `/${id}`).send({ name: 'renamed too' })).status, 200)
    const use = await request(hub.app).get('/as-reader').auth(token, { type: 'bearer' })
    assert.deepEqual([use.status, use.body.name], [200, 'renamed too'])
  })

  it('lists all receivers in pages by name, each once', async () => {
    for (const number of [3, 1, 5, 2, 4]) await add({ name: `page ${number}` })
    const seen: string[] = []
    let next: string | null = ''
    while (next !== null) {
      const page: request.Response = await call('get', '').query({ limit: 2, ...(next && { cursor: next }) })
      seen.push(...page.body.items.map((item: { name: string }) => item.name))
      next = page.body.next
      assert.equal(page.body.items.length, next === null ? ((seen.length - 1) % 2) + 1 : 2)
    }
    const rows = await hub.db('receivers').orderBy('name').select('name')
    assert.ok(rows.length >= 5)
    assert.deepEqual(
      seen,
      rows.map((row) => row.name),
    )
  })

  it('audits who changed what, and nothing where nothing changed', async () => {
    const body = await add({ name: 'told', signing_alg: 'ES256' })
    const { id, client_id: clientId, audience } = body
    await call('post', `/${id}/enable`)
    await call('patch', `/${id}`).send({ name: 'told again' })
    const { body: token } = await call('post', `/${id}/tokens`).send({
      scopes: ['ssf.read'],
      expires_at: '2999-01-01T00:00:00Z',
    })
    await call('delete', `/${id}/tokens/${token.id}`)
    await call('delete', `/${id}/tokens/${token.id}`)
    await call('post', `/${id}/rotate`)
    await call('post', `/${id}/disable`)
    await call('delete', `/${id}`)
    const receiver = {
      name: 'told',
      clientId,
      audience,
      tokenIssuer: null,
      authMethod: 'client_secret_basic',
      keys: 0,
      defaultSubjects: 'ALL',
      reports: [],
      profile: null,
      compatibility: [],
      signingAlg: 'ES256',
      inactivityTimeoutS: null,
      grantEventTypes: null,
      grantSources: null,
      enabled: true,
    }
    const after = { ...receiver, name: 'told again' }
    const rows = await hub.db('audit_log').where({ target: id }).orderBy('at')
    assert.deepEqual(
      rows.map(({ actor, action, detail }) => [actor, action, detail]),
      [
        ['receiver.created', receiver],
        ['receiver.changed', { before: receiver, after }],
        [
          'receiver.token_issued',
          { token_id: token.id, scopes: ['ssf.read'], expires_at: '2999-01-01T00:00:00.000Z' },
        ],
        ['receiver.token_revoked', { token_id: token.id }],
        ['receiver.rotated', { name: 'told again' }],
        ['receiver.disabled', { name: 'told again' }],
        ['receiver.deleted', { ...after, enabled: false }],
      ].map((row) => ['operator:admin', ...row]),
    )
  })

  it('writes an audit row for every change, without a secret', async () => {
    const { id, client_secret } = await add({ name: 'audited' })
    const token = (await call('post', `/${id}/tokens`).send({ scopes: ['ssf.read'] })).body
    await call('patch', `/${id}`).send({ profile: 'caep-interop' })
    await call('delete', `/${id}/tokens/${token.id}`)
    const secret = (await call('post', `/${id}/rotate`)).body.client_secret
    assert.match(secret, /^fbk_cs_/)
    await call('post', `/${id}/disable`)
    await call('post', `/${id}/enable`)
    await call('delete', `/${id}`)
    const rows = await hub.db('audit_log').where({ target: id }).orderBy('at')
    assert.deepEqual(
      rows.map((row) => row.action.replace('receiver.', '')),
      ['created', 'token_issued', 'changed', 'token_revoked', 'rotated', 'disabled', 'enabled', 'deleted'],
    )
    const text = JSON.stringify(rows)
    for (const value of [client_secret, secret, token.token]) assert.ok(!text.includes(value))
  })

  it('stores no OAuth token for a secret that was rotated while the token was being issued', async () => {
    const { client_id, client_secret } = await add({ name: 'raced' })
    const artifacts = createArtifactRepository()
    const issue = (secret: string) =>
      artifacts.insertToken(hub.db, `token-for-${secret}`, {
        clientId: client_id,
        payload: { clientId: client_id, scope: 'ssf.read' },
        expiresInS: 60,
        secretHash: hashSecret(secret),
      })
    assert.equal(await issue('an older secret'), false)
    assert.equal(await issue(client_secret), true)
  })
})

describe('auth: the audience of a receiver', () => {
  it('stands below the issuer, whether that ends with a slash or not', async () => {
    const hub = await createAuthApp({ issuer: 'https://hub.example/t1/' })
    const { body } = await request(hub.app)
      .post('/v1/receivers')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'gw' })
    assert.equal(body.audience, `https://hub.example/t1/receivers/${body.id}`)
    await hub.close()
  })
})
