import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { type HubProcess, startHub } from '../support/hub-process.js'

describe('a hub with some roles', function () {
  this.timeout(120_000)
  let hub: HubProcess

  afterEach(() => hub?.remove())

  it('takes SETs and serves nothing else when it has ingest alone', async () => {
    hub = await startHub({ env: { ROLES: 'ingest' } })
    const authorization = `Bearer ${hub.adminToken}`
    for (const target of [
      '/v1/receivers',
      '/ssf/streams',
      '/oauth/token',
      '/.well-known/ssf-configuration',
    ]) {
      const answer = await fetch(hub.url + target, { headers: { authorization } })
      assert.equal(answer.status, 404, target)
    }
    const set = await fetch(`${hub.url}/ingest/00000000-0000-4000-8000-000000000000`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt' },
      body: 'e30.e30.e30',
    })
    // The ingest handler's own 404, for a transmitter that is not registered.
    assert.doesNotMatch(await set.text(), /nothing at this path/)
    assert.ok(!existsSync(path.join(hub.dataDir, 'hub.json')))
  })

  it('names no address but the management port when it serves no HTTP', async () => {
    hub = await startHub({ env: { ROLES: 'fanout,push,upkeep' } })
    assert.ok(!hub.output().includes(hub.url), hub.output())
    assert.ok(hub.output().includes(hub.managementUrl))
    await assert.rejects(fetch(hub.url))
    assert.ok(!existsSync(path.join(hub.dataDir, 'hub.json')))
  })
})
