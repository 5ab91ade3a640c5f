import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { RISC } from '../../src/secevent/event-types.js'
import { type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { AUDIENCE, ISSUER, publicJwk, rsa, setOf } from './ingest-fixture.js'

const BADGE = 'https://example.com/events/badge'

describe('ingest: types that are urgent per source, in two processes', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let first: RealHub
  let second: RealHub

  before(async () => {
    database = await createTestDatabase()
    first = await startRealHub(database.url)
    second = await startRealHub(database.url)
  })
  after(async () => {
    await second?.stop()
    await first?.stop()
    await database?.close()
  })

  async function register(name: string): Promise<string> {
    const jwks = { keys: [publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' })] }
    const body = { name, issuer: ISSUER, audience: AUDIENCE, jwks }
    return (await first.call<{ id: string }>('POST', '/v1/transmitters', body)).id
  }

  /** The lane of an event of this type that the second process took just now. */
  async function laneOf(transmitterId: string, type: string): Promise<unknown> {
    const txn = newId()
    const set = setOf({ jti: newId(), txn, events: { [type]: {} } })
    const answer = await fetch(`${second.url}/ingest/${transmitterId}`, { method: 'POST', body: set })
    assert.equal(answer.status, 202)
    let lane: unknown
    await waitUntil('the event', async () => {
      const { items } = await first.call<{ items: { lane: string }[] }>('GET', `/v1/events?txn=${txn}`)
      lane = items[0]?.lane
      return lane !== undefined
    })
    return lane
  }

  it('are followed by a process that was not asked, and by no other source', async () => {
    const [idp, other] = [await register('idp'), await register('other')]
    assert.equal(await laneOf(idp, RISC.accountEnabled), 'routine')
    const path = `/v1/transmitters/${idp}`
    const changed = await first.call<{ urgent_types: string[] }>('PATCH', path, {
      urgent_types: [RISC.accountEnabled],
    })
    assert.deepEqual(changed.urgent_types, [RISC.accountEnabled])
    await waitUntil('the other process', async () => (await laneOf(idp, RISC.accountEnabled)) === 'urgent')
    assert.equal(await laneOf(other, RISC.accountEnabled), 'routine')
    await second.call('PATCH', path, { urgent_types: [] })
    await waitUntil('the way back', async () => (await laneOf(idp, RISC.accountEnabled)) === 'routine')
  })

  it('may be registered ones, and no others', async () => {
    const idp = await register('badges')
    const path = `/v1/transmitters/${idp}`
    const name = () => first.call('PATCH', path, { urgent_types: [BADGE] })
    await assert.rejects(name(), /answered 400.*ERR_INVALID_REQUEST.*urgent_types/)
    await first.call('POST', '/v1/event-types', { type: BADGE, effect: 'neutral' })
    await name()
    await waitUntil('the other process', async () => (await laneOf(idp, BADGE)) === 'urgent')
  })
})
