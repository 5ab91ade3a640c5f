import assert from 'node:assert/strict'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { sqlRows } from '../../src/storage/database.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import { addReceiver, addStream, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const HUBS = 3
const TYPES = [CAEP.sessionRevoked, CAEP.deviceComplianceChange, RISC.accountDisabled]

interface RingHub {
  readonly hub: RealHub
  readonly database: TestDatabase
  /** A gateway that this hub serves. */
  readonly sink: Sink
}

/** The next hub takes what comes from the one before, by the keys that it is told of. */
async function registerBefore(next: RealHub, before: RealHub): Promise<void> {
  const receiver = await addReceiver(before, { name: 'the next hub' })
  const { ingest_url } = await next.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
    name: 'the hub before',
    issuer: before.url,
    jwks_uri: `${before.url}/ssf/jwks.json`,
    audience: receiver.audience,
  })
  await addStream(before, receiver.token, ingest_url, TYPES)
}

/** The next hub discovers the one before, makes its own stream there and polls it. */
async function subscribeToBefore(next: RealHub, before: RealHub): Promise<void> {
  const { client_id, client_secret } = await before.call<{ client_id: string; client_secret: string }>(
    'POST',
    '/v1/receivers',
    { name: 'the next hub' },
  )
  const { id } = await next.call<{ id: string }>('POST', '/v1/transmitters', {
    name: 'the hub before',
    discover: before.url,
    delivery: { method: 'poll', events_requested: TYPES, credentials: { client_id, client_secret } },
  })
  await waitUntil('the next hub has its stream', async () => {
    const { stream } = await next.call<{ stream: { verified_at: string | null } }>(
      'GET',
      `/v1/transmitters/${id}`,
    )
    return stream.verified_at !== null
  })
}

/** Each hub passes everything on to the next one; none is told that it is in a ring. */
for (const [how, connect] of [
  ['that push', registerBefore],
  ['that discover and poll each other', subscribeToBefore],
] as const)
  describe(`a ring of three hubs ${how}`, function () {
    this.timeout(120_000)
    const ring: RingHub[] = []

    before(async () => {
      for (let count = 0; count < HUBS; count += 1) {
        const database = await createTestDatabase()
        ring.push({ database, sink: await startSink(), hub: await startRealHub(database.url) })
      }
      for (const [place, { hub, sink }] of ring.entries()) {
        const { token } = await addReceiver(hub, { name: 'gateway' })
        await addStream(hub, token, sink.url, TYPES)
        const next = ring[(place + 1) % HUBS]?.hub as RealHub
        await connect(next, hub)
      }
    })
    after(async () => {
      for (const { hub, sink, database } of ring) {
        await hub.stop()
        await sink.close()
        await database.close()
      }
    })

    const count = async ({ database }: RingHub, sql: string): Promise<number> =>
      (await sqlRows<{ count: number }>(database.db, `select count(*)::int as count from ${sql}`))[0]
        ?.count ?? 0

    async function emit(at: number, event: object): Promise<string> {
      const { hub } = ring[at] as RingHub
      return (await hub.call<{ txn: string }>('POST', '/v1/events', event)).txn
    }

    /** The event has come back to where it began, and nothing is under way any more. */
    async function wentRound(at: number, stated: number): Promise<void> {
      const first = ring[at] as RingHub
      await waitUntil('it came back', async () => (await count(first, 'events')) >= stated, {
        deadlineMs: 60_000,
      })
      await cameToRest()
    }

    async function cameToRest(): Promise<void> {
      // What moves while the hubs are read one after the other leaves an event behind.
      await waitUntil('nothing is under way', async () => {
        const [one, other] = [await openWork(), await openWork()]
        return one.open === 0 && other.open === 0 && one.events === other.events
      })
    }

    async function openWork(): Promise<{ open: number; events: number }> {
      const found = { open: 0, events: 0 }
      for (const one of ring) {
        found.open += (await count(one, 'delivery_queue')) + (await count(one, 'event_log'))
        found.events += await count(one, 'events')
      }
      return found
    }

    const CASES: [title: string, event: object][] = [
      ['a dated event', { type: CAEP.sessionRevoked, event: {}, event_timestamp: 1_700_000_000 }],
      ['an event without a date', { type: CAEP.sessionRevoked, event: { reason_admin: { en: 'left' } } }],
      ['an event of a type that has no date', { type: RISC.accountDisabled, event: { reason: 'hijacking' } }],
      [
        'an event about a complex subject',
        {
          type: CAEP.deviceComplianceChange,
          sub_id: {
            format: 'complex',
            user: { format: 'email', email: 'Ann@Example.com' },
            device: { format: 'ip-addresses', 'ip-addresses': ['2001:DB8::1', '10.0.0.1'] },
          },
          event: { previous_status: 'compliant', current_status: 'not-compliant' },
          event_timestamp: 1_700_000_000,
        },
      ],
    ]
    let round = 0
    for (const [title, event] of CASES) {
      it(`brings ${title} to each hub's receivers once, and comes to rest`, async () => {
        const at = round % HUBS
        round += 1
        const eventsBefore = await count(ring[at] as RingHub, 'events')
        const deliveriesBefore = await Promise.all(ring.map((one) => count(one, 'deliveries')))
        const txn = await emit(at, {
          sub_id: { format: 'email', email: `user${round}@example.com` },
          ...event,
        })
        await wentRound(at, eventsBefore + 2)
        for (const [place, one] of ring.entries()) {
          const came = one.sink.received.filter(({ claims }) => claims.txn === txn)
          assert.equal(came.length, 1, `hub ${place}: ${came.length} times at its gateway`)
          assert.equal((await count(one, 'deliveries')) - (deliveriesBefore[place] ?? 0), 2, `hub ${place}`)
          assert.equal(await count(one, 'parked'), 0)
        }
      })
    }

    it('passes on what the same cause says next', async () => {
      const user = { format: 'email', email: 'again@example.com' }
      const body = { type: RISC.accountDisabled, sub_id: user, event: {}, txn: 'one-cause' }
      const opposite = { ...body, type: CAEP.sessionRevoked, event_timestamp: 1_700_000_000 }
      const all = [body, opposite, { ...opposite, event_timestamp: 1_700_000_001 }, body]
      for (const one of all) await emit(0, one)
      const came = () =>
        ring.map(({ sink }) => sink.received.filter(({ claims }) => claims.txn === 'one-cause').length)
      await waitUntil('all came to each gateway', () => came().every((count) => count >= all.length))
      // A second round would come late.
      await cameToRest()
      assert.deepEqual(
        came(),
        ring.map(() => all.length),
      )
    })
  })
