import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { addPushStream, addReceiver, hubApi } from '../support/hub-api.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createScene, type Scene } from '../support/hub-scene.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { pushLoad } from '../support/set-producer.js'
import { type SetSink, startSink } from '../support/set-sink.js'
import { waitUntil } from '../support/wait.js'
import { type ListedKey, type StrictReceiver, startStrictReceiver } from './strict-receiver.js'

const LEAD_S = 5
const PUSH_STREAMS = 3

describe('fault: keys rotated under load on two hub processes', function () {
  this.timeout(240_000)
  const masters = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')] as const
  const env: Record<string, string> = {
    SIGNING_KEY_LEAD_S: String(LEAD_S),
    SIGNING_KEY_GRACE_S: '10',
    FIREBREAK_MASTER_KEY: masters[0],
  }
  let database: TestDatabase
  let hubs: HubProcess[] = []
  let scene: Scene
  let strict: StrictReceiver
  const sinks: SetSink[] = []
  let loading = true
  let load: Promise<unknown>

  before(async () => {
    database = await createTestDatabase()
    const port = await pickFreePort()
    Object.assign(env, { DATABASE_URL: database.url, ISSUER: `http://127.0.0.1:${port}` })
    hubs = [await createHubProcess({ env, port }), await createHubProcess({ env })]
    for (const hub of hubs) hub.start()
    await Promise.all(hubs.map((hub) => hub.ready()))
    scene = await createScene(hubs)
    strict = startStrictReceiver(hubs, LEAD_S)
    for (let number = 1; number <= PUSH_STREAMS; number += 1) {
      const name = `strict ${number}`
      const sink = await startSink((set) => {
        strict.take(set)
        scene.ledger.received(name, set)
      })
      sinks.push(sink)
      const { token } = await addReceiver(scene.admin, name, {
        signing_alg: number === 1 ? 'RS256' : 'ES256',
      })
      await addPushStream(
        hubApi(() => hubs[0]?.url ?? '', token),
        sink.url,
      )
      scene.ledger.expect(name)
    }
    const { upstream, ledger, ingestUrls: urls } = scene
    // Gentle, and without an end: what is looked at is which key signs while SETs flow.
    load = (async () => {
      while (loading) {
        await pushLoad({ upstream, ledger, urls, count: 20, concurrency: 2 })
        await delay(100)
      }
    })()
  })

  after(async () => {
    loading = false
    await load?.catch(() => {})
    await strict?.stop()
    await Promise.all(sinks.map((sink) => sink.close()))
    await scene?.close()
    await Promise.all(hubs.map((hub) => hub.remove()))
    await database?.close()
  })

  const keysOf = async (): Promise<ListedKey[]> =>
    (await scene.admin.call<{ items: ListedKey[] }>('GET', '/v1/keys')).items

  it('show receivers no kid that is not published by either, and retire the old keys', async () => {
    const old = (await keysOf()).filter((key) => key.use === 'set').map(({ kid }) => kid)
    const made = await scene.admin.call<{ items: ListedKey[] }>('POST', '/v1/keys/rotate', { use: 'set' })
    await scene.admin.call('POST', '/v1/keys/rotate', { use: 'log' })
    await scene.admin.call('POST', '/v1/keys/rotate', { use: 'ring' })
    const fresh = made.items.map(({ kid }) => kid)
    assert.deepEqual(
      made.items.map(({ state }) => state),
      ['next', 'next'],
    )
    await waitUntil('both new keys sign', () => fresh.every((kid) => (strict.seen.get(kid) ?? 0) > 20), {
      deadlineMs: 90_000,
    })
    await waitUntil(
      'the old keys are retired',
      async () => {
        const states = (await keysOf()).filter(({ kid }) => old.includes(kid)).map(({ state }) => state)
        return states.every((state) => state === 'retired')
      },
      { deadlineMs: 60_000 },
    )
    const ring = (await keysOf()).filter((key) => key.use === 'ring').map(({ state }) => state)
    assert.deepEqual(ring, ['active', 'retiring'])
    for (const kid of old) assert.ok((strict.seen.get(kid) ?? 0) > 0, `nothing was signed with ${kid}`)
    assert.deepEqual(strict.unpublished, [])
    const parked = await scene.admin.call<{ items: object[] }>('GET', '/v1/parked')
    assert.deepEqual(parked.items, [])
  })

  it('go on through a new master key, restarted one after the other', async () => {
    Object.assign(env, { FIREBREAK_MASTER_KEY: masters[1], FIREBREAK_MASTER_KEY_PREVIOUS: masters[0] })
    for (const hub of [...hubs].reverse()) {
      hub.signal('SIGTERM')
      assert.equal((await hub.ended()).code, 0)
      hub.start()
      await hub.ready()
    }
    loading = false
    await load
    await scene.settled()
    assert.deepEqual(strict.unpublished, [])
    for (const hub of hubs) assert.doesNotMatch(hub.output(), /ERR_SEAL_BROKEN|does not open/)
    const audit = await scene.admin.call<{ items: object[] }>('GET', '/v1/audit?action=key_ring.resealed')
    assert.equal(audit.items.length, 1)
    // The old key alone opens nothing any more.
    const stranger = await createHubProcess({
      env: { ...env, FIREBREAK_MASTER_KEY: masters[0], FIREBREAK_MASTER_KEY_PREVIOUS: '' },
    })
    stranger.start()
    assert.equal((await stranger.ended(60_000)).code, 1)
    assert.match(stranger.stderr(), /FIREBREAK_MASTER_KEY is not the key that sealed this database/)
    await stranger.remove()
  })
})
