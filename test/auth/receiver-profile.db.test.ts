import assert from 'node:assert/strict'
import request from 'supertest'
import { COMPATIBILITY_SWITCHES } from '../../src/auth/compatibility.js'
import { type AuthApp, createAuthApp } from './auth-app.js'

describe('profile and compatibility of a receiver', () => {
  let hub: AuthApp
  before(async () => {
    hub = await createAuthApp()
  })
  after(() => hub.close())

  const call = (method: 'post' | 'patch' | 'get', path: string, body?: object) =>
    request(hub.app)[method](`/v1/receivers${path}`).auth(hub.adminToken, { type: 'bearer' }).send(body)
  const add = async (body: object): Promise<string> => {
    const res = await call('post', '', body)
    assert.equal(res.status, 201, res.text)
    return res.body.id
  }

  describe('profile caep-interop', () => {
    it('is shown, and is taken off again with null', async () => {
      const id = await add({ name: 'shown', profile: 'caep-interop' })
      const { body } = await call('get', `/${id}`)
      assert.deepEqual(
        [body.profile, body.signing_alg, body.default_subjects],
        ['caep-interop', 'RS256', 'ALL'],
      )
      assert.equal((await call('patch', `/${id}`, { profile: null })).body.profile, null)
    })

    it('signs with RS256 alone: ES256 is refused, at once and later (its §2.6)', async () => {
      const both = { name: 'es256', profile: 'caep-interop', signing_alg: 'ES256' }
      const refused = await call('post', '', both)
      assert.equal(refused.status, 400)
      assert.match(refused.body.message, /RS256/)
      const id = await add({ ...both, profile: null })
      assert.equal((await call('patch', `/${id}`, { profile: 'caep-interop' })).status, 400)
      const changed = await call('patch', `/${id}`, { profile: 'caep-interop', signing_alg: 'RS256' })
      assert.equal(changed.status, 200)
      assert.equal((await call('patch', `/${id}`, { signing_alg: 'ES256' })).status, 400)
      assert.equal((await call('get', `/${id}`)).body.signing_alg, 'RS256')
    })

    it('has every subject in its streams: default_subjects NONE is refused', async () => {
      const refused = await call('post', '', {
        name: 'none',
        profile: 'caep-interop',
        default_subjects: 'NONE',
      })
      assert.equal(refused.status, 400)
      assert.match(refused.body.message, /default_subjects/)
      const id = await add({ name: 'all', profile: 'caep-interop' })
      assert.equal((await call('patch', `/${id}`, { default_subjects: 'NONE' })).status, 400)
    })

    it('takes no token that an operator issued: new ones are refused, old ones end (its §2.7.1)', async () => {
      const id = await add({ name: 'tokens' })
      const scopes = ['ssf.read']
      const { token } = (await call('post', `/${id}/tokens`, { scopes })).body
      const use = () => request(hub.app).get('/as-reader').auth(token, { type: 'bearer' })
      assert.equal((await use()).status, 200)
      await call('patch', `/${id}`, { profile: 'caep-interop' })
      const ended = await use()
      assert.equal(ended.status, 401)
      assert.equal(ended.body.code, 'ERR_INVALID_TOKEN')
      assert.match(ended.headers['www-authenticate'] ?? '', /error="invalid_token"/)
      const refused = await call('post', `/${id}/tokens`, { scopes })
      assert.equal(refused.status, 409)
      assert.equal(refused.body.code, 'ERR_TOKEN_NOT_IN_PROFILE')
      assert.match(refused.body.message, /\/oauth\/token/)
      await call('patch', `/${id}`, { profile: null })
      assert.equal((await use()).status, 200)
    })

    it('takes the short-lived token of the authorization server', async () => {
      const { body } = await call('post', '', { name: 'oauth', profile: 'caep-interop' })
      const granted = await request(hub.app)
        .post('/oauth/token')
        .auth(body.client_id, body.client_secret)
        .type('form')
        .send({ grant_type: 'client_credentials', scope: 'ssf.read' })
      assert.equal(granted.status, 200, granted.text)
      assert.ok(granted.body.expires_in <= 3600)
      const { access_token } = granted.body
      const used = await request(hub.app).get('/as-reader').auth(access_token, { type: 'bearer' })
      assert.equal(used.status, 200)
    })

    it('is the only profile there is, and the answer says so', async () => {
      const res = await call('post', '', { name: 'other', profile: 'caep' })
      assert.equal(res.status, 400)
      assert.equal(res.body.message, 'profile must be one of caep-interop, null.')
    })
  })

  describe('compatibility', () => {
    it('takes the switches of the list, keeps those that are on, and replaces them as a whole', async () => {
      const all = Object.fromEntries(COMPATIBILITY_SWITCHES.map((name) => [name, true]))
      const id = await add({ name: 'switched', compatibility: all })
      assert.deepEqual((await call('get', `/${id}`)).body.compatibility, all)
      const one = await call('patch', `/${id}`, {
        compatibility: { accept_any_2xx: true, omit_more_available: false },
      })
      assert.deepEqual(one.body.compatibility, { accept_any_2xx: true })
      assert.deepEqual((await call('patch', `/${id}`, { compatibility: {} })).body.compatibility, {})
    })

    it('refuses another name with the list of those there are', async () => {
      for (const name of ['legacy_phone', '__proto__x', 'x'.repeat(5_000)]) {
        const res = await call('post', '', { name: 'unknown', compatibility: { [name]: true } })
        assert.equal(res.status, 400)
        assert.ok(res.body.message.includes(name.slice(0, 100)))
        assert.ok(res.body.message.length < 1_000)
        for (const known of COMPATIBILITY_SWITCHES) assert.ok(res.body.message.includes(known), known)
      }
    })
  })

  it('keeps a time of its own for inactivity, none and the hub’s', async () => {
    const id = await add({ name: 'idle', inactivity_timeout_s: 60 })
    for (const inactivity_timeout_s of [0, null, 31_536_000]) {
      const res = await call('patch', `/${id}`, { inactivity_timeout_s })
      assert.equal(res.status, 200)
      assert.equal(res.body.inactivity_timeout_s, inactivity_timeout_s)
    }
  })
})
