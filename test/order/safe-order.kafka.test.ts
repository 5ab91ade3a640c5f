import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { type KafkaServer, startKafka } from '../support/kafka.js'
import { openFailoverLog } from '../support/order-logs.js'
import { planArbitrary } from '../support/order-plan.js'
import { createOrderWorld, type OrderWorld } from '../support/order-world.js'

/** To see a failure again, write the seed of its title here. */
const REPLAY: number | undefined = undefined
const seed = REPLAY ?? Date.now() % 0x7fffffff

describe('safe order on Kafka and through its failover', function () {
  this.timeout(180_000)
  let broker: KafkaServer
  let world: OrderWorld
  let detours = 0

  before(async () => {
    broker = await startKafka()
    world = await createOrderWorld({
      openLog: (parts) => openFailoverLog(broker.brokers, parts),
      async stopBroker(forMs) {
        await broker.pause()
        await delay(forMs)
        if (world.logHealth().some(({ reason }) => reason?.includes('go through Postgres'))) detours += 1
        broker.resume()
      },
    })
  })
  after(async () => {
    await world?.close()
    await broker?.remove()
  })

  async function holds(plans: { minSteps: number; maxSteps: number; broker: boolean }, numRuns: number) {
    await fc.assert(
      fc.asyncProperty(planArbitrary(plans), async (plan) => {
        assert.deepEqual(await world.run(plan), [])
      }),
      { seed, numRuns, endOnFailure: true },
    )
  }

  it(`holds while the broker answers, with the hub's own events in Postgres (seed ${seed})`, () =>
    holds({ minSteps: 100, maxSteps: 160, broker: false }, 5))

  it(`holds while the broker stops and comes back (seed ${seed})`, async () => {
    await holds({ minSteps: 150, maxSteps: 220, broker: true }, 5)
    assert.ok(detours > 0, 'no append went around a stopped broker: the plans tested nothing of it')
  })
})
