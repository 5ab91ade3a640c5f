import assert from 'node:assert/strict'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds, newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createSecurityEvent } from '../../src/secevent/security-event.js'
import { createLeases } from '../../src/storage/leases.js'
import { shardOf } from '../../src/streams/stream.js'
import { type HangingEndpoint, startHangingEndpoint } from '../support/order-hanging-endpoint.js'
import { newTopicPrefix, type OrderHub, startOrderHub } from '../support/order-hub.js'
import { openPostgresLog } from '../support/order-logs.js'
import { addReceiver, addStream, TYPES } from '../support/order-receivers.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const ATTEMPT_MS = 4_000

describe('a shard that goes to a hub that has just come', function () {
  this.timeout(60_000)
  const clock = createClock()
  const nextId = createEventIds(clock)
  const hubs: OrderHub[] = []
  let database: TestDatabase
  let endpoint: HangingEndpoint

  before(async () => {
    database = await createTestDatabase()
    endpoint = await startHangingEndpoint()
  })
  after(async () => {
    for (const hub of hubs) await hub.stop()
    await endpoint?.close()
    await database?.close()
  })

  async function startHub(): Promise<OrderHub> {
    const hub = await startOrderHub({
      databaseUrl: database.url,
      clock,
      topicPrefix: newTopicPrefix(),
      openLog: openPostgresLog,
      attemptTimeoutMs: ATTEMPT_MS,
      ownsSlot: () => hubs.length === 0,
      leases: (db) =>
        createLeases({ db, kind: 'delivery', units: 256, processId: newId(), clock, logger: silentLogger }),
    })
    hubs.push(hub)
    return hub
  }

  const event = (effect: 'tightens' | 'loosens') =>
    createSecurityEvent({
      eventId: nextId(),
      acceptedAtMs: clock.now(),
      type: TYPES[effect],
      subject: { format: 'email', email: 'alice@example.com' },
      claims: effect === 'loosens' ? { current_status: 'compliant' } : {},
      txn: newId(),
      sourceId: newId(),
      sourceIssuer: 'https://idp.example.com',
      sourceJti: newId(),
    })

  /** The share that a second process takes is the upper half. */
  function streamIdInUpperHalf(): string {
    for (;;) {
      const id = newId()
      if (shardOf(id) >= 128) return id
    }
  }

  it('is sent for only after the attempts of its former owner have ended', async () => {
    const first = await startHub()
    const receiverId = await addReceiver(database.db)
    await addStream(database.db, receiverId, endpoint.url, streamIdInUpperHalf())
    await first.log.append([event('loosens')])
    await waitUntil('the all-clear is under way', () => endpoint.openAtArrival.length === 1)
    const second = await startHub()
    await second.log.append([event('tightens')])
    // It came first, so an endpoint that wakes up could read the older all-clear after it.
    await waitUntil('the revocation is under way', () => endpoint.openAtArrival.length === 2)
    assert.deepEqual(endpoint.openAtArrival, [1, 1])
  })
})
