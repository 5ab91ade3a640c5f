import assert from 'node:assert/strict'
import { createStreamTargets } from '../../src/delivery/stream-target-repository.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

describe('where the SETs of streams go', () => {
  let hub: DeliveryHarness
  let sink: Sink
  before(async () => {
    hub = await startDelivery()
    sink = await startSink()
  })
  after(async () => {
    await hub.close()
    await sink.close()
  })

  it('is read of every stream though the header of one does not open, and that one is sent for once it does', async () => {
    const receiverId = await hub.addReceiver()
    const ids: string[] = []
    for (let count = 0; count < 4; count += 1)
      ids.push(await hub.addStream({ receiverId, endpointUrl: sink.url }))
    const bad = ids[2] as string
    await hub.rows("update streams set authorization_wrapped = 'x' where stream_id = ?", [bad])
    const targets = createStreamTargets(hub.db, (sealed, context) => hub.keys.open(sealed, context))
    const found = await Promise.allSettled(ids.map((id) => targets.find(id)))
    assert.deepEqual(
      found.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    )
    await hub.fanOut([hub.event()])
    await waitUntil('all but one', () => sink.received.length === 3)
    await hub.rows('update streams set authorization_wrapped = null where stream_id = ?', [bad])
    await waitUntil('that one too', () => sink.received.length === 4)
  })
})
