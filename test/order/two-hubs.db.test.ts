import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { CAEP } from '../../src/secevent/event-types.js'
import { sqlRows } from '../../src/storage/database.js'
import { type Sink, startSink } from '../delivery/delivery-harness.js'
import { addReceiver, addStream, type RealHub, startRealHub } from '../support/order-real-hub.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const REVOKED = CAEP.sessionRevoked
const revoke = (hub: RealHub, email: string) =>
  hub.call<{ txn: string }>('POST', '/v1/events', {
    type: REVOKED,
    sub_id: { format: 'email', email },
    event: {},
    event_timestamp: 1_700_000_000,
  })

describe('a subject added through one hub', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let sink: Sink
  const hubs: RealHub[] = []

  before(async () => {
    database = await createTestDatabase()
    sink = await startSink()
    const first = await startRealHub(database.url)
    hubs.push(first, await startRealHub(database.url, { env: { ISSUER: first.url } }))
  })
  after(async () => {
    for (const hub of hubs) await hub.stop()
    await sink?.close()
    await database?.close()
  })

  it('is matched by an event that another hub takes 5 ms later', async () => {
    const [one, other] = hubs as [RealHub, RealHub]
    const { token } = await addReceiver(one, { name: 'gateway', default_subjects: 'NONE' })
    const streamId = await addStream(one, token, sink.url, [REVOKED])
    const sent: string[] = []
    for (let round = 0; round < 20; round += 1) {
      const [adds, takes] = round % 2 === 0 ? [one, other] : [other, one]
      const email = `user${round}@example.com`
      const body = { stream_id: streamId, subject: { format: 'email', email } }
      await adds.call('POST', '/ssf/subjects/add', body, token)
      await delay(5)
      sent.push((await revoke(takes, email)).txn)
      await revoke(takes, `stranger${round}@example.com`)
    }
    const came = () => sink.received.map(({ claims }) => claims.txn)
    await waitUntil('all events came', () => sent.every((txn) => came().includes(txn)))
    assert.deepEqual([...new Set(came())].sort(), [...sent].sort(), 'and no event of a stranger')
  })
})

describe('two hubs that are each the transmitter and the receiver of the other', function () {
  this.timeout(60_000)
  const databases: TestDatabase[] = []
  const hubs: RealHub[] = []

  before(async () => {
    for (let count = 0; count < 2; count += 1) {
      const database = await createTestDatabase()
      databases.push(database)
      hubs.push(await startRealHub(database.url))
    }
  })
  after(async () => {
    for (const hub of hubs) await hub.stop()
    for (const database of databases) await database.close()
  })

  /** Makes `from` a transmitter of `to`, whose own receiver `back` stands for `from`. */
  async function link(
    from: RealHub,
    to: RealHub,
    receiver: { audience: string; token: string },
    back: string,
  ) {
    const { ingest_url } = await to.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
      name: `from ${from.url}`,
      issuer: from.url,
      jwks_uri: `${from.url}/ssf/jwks.json`,
      audience: receiver.audience,
      receiver_id: back,
    })
    await addStream(from, receiver.token, ingest_url, [REVOKED])
  }

  const count = async (database: TestDatabase | undefined, table: string): Promise<number> => {
    if (!database) throw new Error('no database')
    const [row] = await sqlRows<{ count: number }>(database.db, `select count(*)::int as count from ${table}`)
    return row?.count ?? 0
  }

  it('send an event over once and never back', async () => {
    const [one, other] = hubs as [RealHub, RealHub]
    const atOne = await addReceiver(one, { name: 'the other hub' })
    const atOther = await addReceiver(other, { name: 'the first hub' })
    await link(one, other, atOne, atOther.id)
    await link(other, one, atOther, atOne.id)
    const events = 10
    const rounds = 2
    // What would send an event of the first round back is fanned out before that of the second, of the same subject.
    for (let round = 1; round <= rounds; round += 1) {
      for (let number = 0; number < events; number += 1) {
        await revoke(number % 2 === 0 ? one : other, `user${number}@example.com`)
      }
      const reached = async (table: string, rows: number) =>
        (await Promise.all(databases.map((database) => count(database, table)))).every(
          (found) => found >= rows,
        )
      await waitUntil('every event went over', async () => reached('deliveries', (round * events) / 2))
      await waitUntil('every event was fanned out there', async () => reached('events', round * events))
    }
    for (const database of databases) {
      assert.equal(
        await count(database, 'events'),
        rounds * events,
        'own events, and those of the other, once each',
      )
      assert.equal(await count(database, 'deliveries'), (rounds * events) / 2)
      assert.equal(await count(database, 'delivery_queue'), 0)
      assert.equal(await count(database, 'parked'), 0)
    }
  })
})
