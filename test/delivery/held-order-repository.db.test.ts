import { heldOrderRepository } from '../../src/delivery/held-order-repository.js'
import { newId } from '../../src/kernel/ids.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'

describe('held rows that are put in order', () => {
  let hub: DeliveryHarness

  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())

  it('may take longer than other statements of their pool', async () => {
    await hub.rows(`create function dawdle() returns trigger language plpgsql as
      'begin perform pg_sleep(0.3); return null; end'`)
    await hub.rows(
      'create trigger dawdle before update on delivery_queue for each statement execute function dawdle()',
    )
    await hub.db.transaction(async (trx) => {
      await trx.raw('set local statement_timeout = 100')
      await heldOrderRepository.putInOrder(trx, newId())
    })
  })
})
