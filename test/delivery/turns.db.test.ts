import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

/** Several pages of a claim. */
const BACKLOG = 1_500

describe('delivery: a mass logout and another cause at one stream', function () {
  this.timeout(120_000)
  let hub: DeliveryHarness
  let sink: Sink
  const idp = newId()

  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())
  beforeEach(async () => {
    sink = await startSink()
  })
  afterEach(() => sink.close())

  const eventOf = (txn: string, sourceId = idp) =>
    hub.event({ txn, sourceId, subject: { format: 'opaque', id: newId() } })

  async function massLogout(count = BACKLOG) {
    for (let from = 0; from < count; from += 500) {
      await hub.fanOut(Array.from({ length: Math.min(500, count - from) }, () => eventOf('logout')))
    }
  }

  const positionOf = (txn: string) => sink.received.findIndex(({ claims }) => claims.txn === txn)
  const stream = async (more: object = {}) =>
    await hub.addStream({ receiverId: await hub.addReceiver(), ...more })

  it('does not wait for the logout when both wait in the table', async () => {
    const streamId = await stream({ endpointUrl: sink.url, status: 'paused' })
    // Nothing of it was held: as if the process that sends had been away.
    await massLogout()
    await hub.fanOut([eventOf('theft'), eventOf('stolen', newId())])
    await hub.db('streams').where({ stream_id: streamId }).update({ status: 'enabled' })
    await hub.restart()
    await waitUntil('both', () => positionOf('theft') >= 0 && positionOf('stolen') >= 0, {
      deadlineMs: 60_000,
    })
    // A turn in three, and a few that were under way.
    assert.ok(positionOf('theft') < 30, `the other cause came at ${positionOf('theft')}`)
    assert.ok(positionOf('stolen') < 30, `the other source came at ${positionOf('stolen')}`)
    await waitUntil('the logout', () => sink.received.length === BACKLOG + 2, { deadlineMs: 60_000 })
  })

  it('does not wait for the logout when it comes while that is being sent', async () => {
    await stream({ endpointUrl: sink.url })
    let open = false
    const held: (() => void)[] = []
    sink.answer = async (_request, res) => {
      if (!open) await new Promise<void>((resolve) => held.push(resolve))
      res.writeHead(202).end()
    }
    await massLogout()
    await waitUntil('the first requests', () => sink.received.length > 0)
    await hub.fanOut([eventOf('theft')])
    const before = sink.received.length
    open = true
    for (const release of held.splice(0)) release()
    await waitUntil('the other cause', () => positionOf('theft') >= 0, { deadlineMs: 60_000 })
    assert.ok(positionOf('theft') - before < 30, `it came ${positionOf('theft') - before} later`)
    await waitUntil('the logout', () => sink.received.length >= BACKLOG + 1, { deadlineMs: 60_000 })
  })

  it('is in an answer of a poll within a second, whose lanes come first', async () => {
    const receiverId = await hub.addReceiver()
    const streamId = await hub.addStream({ receiverId })
    await massLogout(1_000)
    await hub.fanOut([
      hub.event({ type: CAEP.sessionEstablished, txn: 'seen', sourceId: newId() }),
      eventOf('theft'),
      eventOf('stolen', newId()),
      hub.event({ lane: 'control', txn: 'contain', subject: { format: 'opaque', id: newId() } }),
    ])
    const call = { aborted: new AbortController().signal, checkAccess: async () => {} }
    const poll = async (maxEvents: number) => {
      const { sets } = await hub.delivery.polls.poll(
        receiverId,
        streamId,
        { maxEvents, returnImmediately: true },
        call,
      )
      return Object.values(sets).map((set) => {
        const claims = JSON.parse(Buffer.from(set.split('.')[1] ?? '', 'base64url').toString()) as {
          txn: string
        }
        return claims.txn
      })
    }
    assert.deepEqual(await poll(1), ['contain'])
    // Other causes are looked for a few times a second, and the first poll did.
    await waitUntil(
      'all causes in one answer',
      async () => (await poll(4)).sort().join() === 'contain,logout,stolen,theft',
    )
  })
})
