import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { addReceiver, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { AUDIENCE, ISSUER, publicJwk, rsa, setOf } from './ingest-fixture.js'

/** Processes of one hub have one. */
const HUB = { env: { ISSUER: 'https://hub.example' } }
const BADGE = 'https://example.com/events/badge'

describe('ingest: what sources may, in two processes', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let first: RealHub
  let second: RealHub

  before(async () => {
    database = await createTestDatabase()
    first = await startRealHub(database.url, HUB)
    second = await startRealHub(database.url, HUB)
  })
  after(async () => {
    await second?.stop()
    await first?.stop()
    await database?.close()
  })

  async function register(name: string, more: object = {}): Promise<string> {
    const jwks = { keys: [publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' })] }
    const body = { name, issuer: ISSUER, audience: AUDIENCE, jwks, ...more }
    return (await first.call<{ id: string }>('POST', '/v1/transmitters', body)).id
  }

  function push(transmitterId: string, claims: Record<string, unknown>): Promise<Response> {
    return fetch(`${second.url}/ingest/${transmitterId}`, { method: 'POST', body: setOf(claims) })
  }

  /** The lane of an event of this type that the second process took just now. */
  async function laneOf(transmitterId: string, type: string): Promise<unknown> {
    const txn = newId()
    assert.equal((await push(transmitterId, { txn, events: { [type]: {} } })).status, 202)
    let lane: unknown
    await waitUntil('the event', async () => {
      const { items } = await first.call<{ items: { lane: string }[] }>('GET', `/v1/events?txn=${txn}`)
      lane = items[0]?.lane
      return lane !== undefined
    })
    return lane
  }

  it('have urgent types of their own, followed by a process that was not asked, and by no other source', async () => {
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

  it('name registered types as urgent, and no unknown ones', async () => {
    const idp = await register('badges')
    const path = `/v1/transmitters/${idp}`
    const name = () => first.call('PATCH', path, { urgent_types: [BADGE] })
    await assert.rejects(name(), /answered 400.*ERR_INVALID_REQUEST.*urgent_types/)
    await first.call('POST', '/v1/event-types', { type: BADGE, effect: 'neutral' })
    await name()
    await waitUntil('the other process', async () => (await laneOf(idp, BADGE)) === 'urgent')
  })

  it('flood to their own cost: past the budget they are told so, and the SET of another is in the first answer', async () => {
    const [noisy, quiet] = [await register('noisy', { budget_per_s: 1 }), await register('quiet')]
    const sources = [noisy, quiet]
    const { token } = await addReceiver(first, { name: 'gateway', grants: { sources } })
    const delivery = { method: 'urn:ietf:rfc:8936' }
    const body = { events_requested: [CAEP.sessionRevoked], delivery }
    const stream = await first.call<{ stream_id: string }>('POST', '/ssf/streams', body, token)
    const sub = (id: string) => ({ sub_id: { format: 'opaque', id } })
    let refused: Response | undefined
    await waitUntil('a refusal', async () => {
      const flood = Array.from({ length: 40 }, () => push(noisy, sub(newId())))
      refused = (await Promise.all(flood)).find(({ status }) => status === 429)
      return refused !== undefined
    })
    assert.match(refused?.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
    const txn = newId()
    assert.equal((await push(quiet, { txn, ...sub('ada') })).status, 202)
    await waitUntil('the other in the first answer', async () => {
      const asked = { maxEvents: 2, returnImmediately: true }
      const path = `/ssf/poll/${stream.stream_id}`
      const { sets } = await first.call<{ sets: Record<string, string> }>('POST', path, asked, token)
      return Object.values(sets).some((set) => claimsIn(set).txn === txn)
    })
    const seen = await first.call<{ items: { lane: string; source: { id: string } }[] }>(
      'GET',
      '/v1/events?limit=1000',
    )
    const lanesOf = (id: string) =>
      new Set(seen.items.filter(({ source }) => source.id === id).map(({ lane }) => lane))
    assert.deepEqual(lanesOf(noisy), new Set(['urgent', 'routine']))
    assert.deepEqual(lanesOf(quiet), new Set(['urgent']))
  })
})

function claimsIn(set: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
}
