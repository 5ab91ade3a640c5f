import assert from 'node:assert/strict'
import { type HubApi, hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type ScriptedIssuer, startScriptedIssuer } from '../support/scripted-issuer.js'

describe('auth: a hub whose receivers get their tokens elsewhere', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let issuer: ScriptedIssuer
  let hub: HubProcess
  let admin: HubApi
  before(async () => {
    issuer = await startScriptedIssuer('/realms/main')
    database = await createTestDatabase()
    hub = await startHub({ env: { DATABASE_URL: database.url, OAUTH_ISSUER: issuer.issuer } })
    admin = hubApi(() => hub.url, hub.adminToken)
    await admin.call('POST', '/v1/receivers', { name: 'gateway', client_id: 'gateway' })
    await admin.call('POST', '/v1/receivers', { name: 'other', client_id: 'other' })
  })
  after(async () => {
    await hub?.remove()
    await issuer?.close()
    await database?.close()
  })

  const sign = (more: object = {}, header?: { kid: string }) => {
    const nowS = Math.floor(Date.now() / 1000)
    const scope = 'ssf.read ssf.manage'
    const claims = { iss: issuer.issuer, aud: hub.url, client_id: 'gateway', scope, iat: nowS }
    return issuer.sign({ ...claims, exp: nowS + 600, ...more }, header)
  }
  const as = (token: string) => hubApi(() => hub.url, token)
  /** Of a hub that is ready: what it says of the issuer. */
  const readiness = async () => {
    const answer = await fetch(`${hub.managementUrl}/health/ready`)
    assert.equal(answer.status, 200)
    const { reasons } = (await answer.json()) as { reasons: string[] }
    return reasons.find((reason) => reason.startsWith('oauth-issuer: '))
  }

  it('takes them for its SSF API, each for the streams of its own client', async () => {
    const body = { events_requested: [] }
    assert.equal((await as(await sign({ scope: 'ssf.read' })).ask('POST', '/ssf/streams', body)).status, 403)
    const made = await as(await sign()).call<{ stream_id: string }>('POST', '/ssf/streams', body)
    const path = `/ssf/streams?stream_id=${made.stream_id}`
    assert.equal((await as(await sign()).ask('GET', path)).status, 200)
    assert.equal((await as(await sign({ client_id: 'other' })).ask('GET', path)).status, 404)
  })

  it('serves no tokens of its own, and says whose count', async () => {
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

  it('stays ready while the issuer is away, and says so', async () => {
    assert.equal((await as(await sign()).ask('GET', '/ssf/streams')).status, 200)
    assert.equal(await readiness(), undefined)
    issuer.isUp = false
    try {
      const unknown = await sign({}, { kid: 'newer' })
      assert.equal((await as(unknown).ask('GET', '/ssf/streams')).status, 503)
      assert.match((await readiness()) ?? '', /did not answer since .* calls with its tokens get 503/)
    } finally {
      issuer.isUp = true
    }
    assert.equal((await as(await sign()).ask('GET', '/ssf/streams')).status, 200)
    assert.equal(await readiness(), undefined)
  })
})
