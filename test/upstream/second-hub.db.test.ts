import assert from 'node:assert/strict'
import { CAEP } from '../../src/secevent/event-types.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import { addReceiver, addStream, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

interface TransmitterBody {
  id: string
  issuer: string
  audience: string[]
  delivery: { method: string }
  stream: {
    state: string
    stream_id: string | null
    status: string | null
    verified_at: string | null
    last_poll_at: string | null
    last_error: string | null
    events_missing: string[]
  }
}

interface Client {
  id: string
  client_id: string
  client_secret: string
  audience: string
}

describe('upstream: a second hub as the transmitter', function () {
  this.timeout(90_000)
  const databases: TestDatabase[] = []
  let above: RealHub
  let hub: RealHub
  let sink: Sink

  before(async () => {
    databases.push(await createTestDatabase(), await createTestDatabase())
    const [first, second] = databases as [TestDatabase, TestDatabase]
    above = await startRealHub(first.url)
    hub = await startRealHub(second.url)
    sink = await startSink()
    const { token } = await addReceiver(hub, { name: 'gateway' })
    await addStream(hub, token, sink.url, [CAEP.sessionRevoked])
  })
  after(async () => {
    await hub?.stop()
    await above?.stop()
    await sink?.close()
    for (const database of databases) await database.close()
  })

  async function subscribe(method: 'push' | 'poll'): Promise<{ client: Client; id: string }> {
    const client = await above.call<Client>('POST', '/v1/receivers', { name: `hub below by ${method}` })
    const { client_id, client_secret } = client
    const { id } = await hub.call<TransmitterBody>('POST', '/v1/transmitters', {
      name: `hub above by ${method}`,
      discover: above.url,
      delivery: { method, credentials: { client_id, client_secret } },
    })
    return { client, id }
  }

  const read = (id: string) => hub.call<TransmitterBody>('GET', `/v1/transmitters/${id}`)

  async function verified(id: string): Promise<TransmitterBody> {
    let last: TransmitterBody | undefined
    return await waitUntil(
      'the stream is verified',
      async () => {
        last = await read(id)
        return last.stream.verified_at !== null && last.stream.status !== null ? last : undefined
      },
      { detail: () => JSON.stringify(last) },
    )
  }

  for (const method of ['poll', 'push'] as const) {
    it(`subscribes by ${method} with client credentials, verifies, and carries an event and its txn through`, async () => {
      const { client, id } = await subscribe(method)
      const body = await verified(id)
      assert.equal(body.issuer, above.url)
      assert.deepEqual(body.audience, [client.audience], 'what the transmitter assigned')
      assert.equal(body.delivery.method, method)
      assert.equal(body.stream.state, 'active')
      assert.equal(body.stream.status, 'enabled')
      assert.equal(body.stream.last_error, null)
      assert.deepEqual(body.stream.events_missing, [])
      const { txn } = await above.call<{ txn: string }>('POST', '/v1/events', {
        type: CAEP.sessionRevoked,
        sub_id: { format: 'email', email: `${method}@example.com` },
        event: {},
        event_timestamp: Math.floor(Date.now() / 1000) - 5,
      })
      const set = await waitUntil('the gateway below has the event', () =>
        sink.received.find(({ claims }) => claims.txn === txn),
      )
      assert.equal((set.claims as { iss?: string }).iss, hub.url)
      const { items } = await above.call<{ items: { state: string }[] }>('GET', `/v1/deliveries?txn=${txn}`)
      assert.deepEqual(
        items.map(({ state }) => state),
        ['received'],
        'acknowledged above',
      )
      await hub.call('DELETE', `/v1/transmitters/${id}`)
      await waitUntil('the stream is deleted above', async () => {
        const { items: streams } = await above.call<{ items: unknown[] }>(
          'GET',
          `/v1/streams?receiver_id=${client.id}`,
        )
        return streams.length === 0
      })
    })
  }
})
