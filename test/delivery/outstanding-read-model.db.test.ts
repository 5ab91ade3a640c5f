import assert from 'node:assert/strict'
import { createOutstandingReader, isOutstanding } from '../../src/delivery/outstanding-read-model.js'
import { waitUntil } from '../support/wait.js'
import { type Sink, startDelivery, startSink } from './delivery-harness.js'

describe('SETs that a receiver may verify yet', () => {
  let sink: Sink
  let hub: Awaited<ReturnType<typeof startDelivery>>
  before(async () => {
    hub = await startDelivery()
    sink = await startSink()
  })
  after(async () => {
    await hub.close()
    await sink.close()
  })

  it('are those first sent before that moment whose delivery is open', async () => {
    const receiverId = await hub.addReceiver()
    await hub.addStream({ receiverId, endpointUrl: sink.url })
    const now = () => Date.now()
    assert.equal(await isOutstanding(hub.db, now()), false)
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await hub.fanOut([hub.event()])
    const before = now() - 60_000
    await waitUntil('the failed attempt', () => isOutstanding(hub.db, now() + 1_000))
    assert.equal(await isOutstanding(hub.db, before), false)
    let monotonicMs = 0
    const reader = createOutstandingReader(hub.db, { monotonicMs: () => monotonicMs })
    const moment = now() + 1_000
    assert.equal(await reader(moment), true)
    assert.equal(await reader(before), false, 'what is known of later says nothing of earlier')
    sink.answer = (_request, res) => void res.writeHead(202).end()
    await waitUntil('the delivery', async () => !(await isOutstanding(hub.db, now() + 1_000)))
    monotonicMs = 59_999
    assert.equal(await reader(moment + 1), true, 'it was asked within the minute')
    monotonicMs = 60_000
    assert.equal(await reader(moment), false)
  })
})
