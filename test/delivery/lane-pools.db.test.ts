import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { LANES, type Lane, type SecurityEvent } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { type Database, openPool, type Transaction } from '../../src/storage/database.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

const CONNECTIONS = 2
type Pool = Lane | 'api'

/** What each lane may not wait for. */
const SLOWER: readonly [held: readonly Pool[], lane: Lane][] = [
  [['routine'], 'urgent'],
  [['routine', 'urgent'], 'control'],
  [['api'], 'routine'],
  [['api', 'routine'], 'urgent'],
]

describe('delivery: connections of a lane', function () {
  this.timeout(60_000)
  let hub: DeliveryHarness
  let sink: Sink
  let pools: Record<Pool, Database>
  let busy: Transaction[] = []

  beforeEach(async () => {
    hub = await startDelivery({
      poolsOf(url) {
        pools = Object.fromEntries(
          ([...LANES, 'api'] as const).map((name) => [
            name,
            openPool(url, { name, max: CONNECTIONS, lookupsOnly: name !== 'api' }),
          ]),
        ) as Record<Pool, Database>
        return pools
      },
    })
    sink = await startSink()
  })
  afterEach(async () => {
    await release()
    await hub.close()
    await Promise.all(Object.values(pools).map((pool) => pool.destroy()))
    await sink.close()
  })

  /** Every connection of these pools is in use until the release. */
  async function hold(names: readonly Pool[]): Promise<void> {
    busy = await Promise.all(
      names.flatMap((name) => Array.from({ length: CONNECTIONS }, () => pools[name].transaction())),
    )
  }

  async function release(): Promise<void> {
    await Promise.all(busy.splice(0).map((trx) => trx.rollback()))
  }

  function eventOf(lane: Lane): SecurityEvent {
    const type = lane === 'routine' ? CAEP.sessionEstablished : CAEP.sessionRevoked
    return hub.event({ type, lane, subject: { format: 'opaque', id: newId() } })
  }
  const has = (event: SecurityEvent) => sink.received.some(({ claims }) => claims.txn === event.txn)

  for (const [held, lane] of SLOWER) {
    it(`are enough for ${lane}: fanned out, sent and written while every one of ${held.join(' and ')} is busy`, async () => {
      const streamId = await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: sink.url })
      await hold(held)
      const slower = LANES.find((each) => held.includes(each))
      const waits = slower && eventOf(slower)
      // The log gives a batch again that found no connection in time.
      const waiting = waits && hub.fanOut([waits]).catch(() => {})
      const event = eventOf(lane)
      await hub.fanOut([event])
      await waitUntil('the SET', () => has(event))
      await waitUntil('its result', async () => (await openOf(streamId)) === 0)
      if (!waits) return
      assert.equal(has(waits), false)
      await release()
      await waiting
      await hub.fanOut([waits])
      await waitUntil('what waited', () => has(waits))
    })
  }

  it('of control find what a process that begins has to send, while those of every other lane are busy', async () => {
    const streamId = await hub.addStream({
      receiverId: await hub.addReceiver(),
      endpointUrl: sink.url,
      status: 'paused',
    })
    const [control, urgent] = [eventOf('control'), eventOf('urgent')]
    await hub.fanOut([control, urgent])
    await hub.db('streams').where({ stream_id: streamId }).update({ status: 'enabled' })
    await hold(['routine', 'urgent', 'api'])
    await hub.restart()
    await waitUntil('the control SET', () => has(control))
    assert.equal(has(urgent), false)
    await release()
    await waitUntil('the urgent SET', () => has(urgent))
  })

  async function openOf(streamId: string): Promise<number> {
    const rows = await hub.rows('select 1 from delivery_queue where stream_id = ?', [streamId])
    return rows.length
  }
})
