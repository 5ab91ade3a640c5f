import assert from 'node:assert/strict'
import { createOpenWork } from '../../src/delivery/open-work.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { openPool } from '../../src/storage/database.js'
import { shardOf } from '../../src/streams/stream.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

describe('the sender of a process', () => {
  let hub: DeliveryHarness
  let sinks: Sink[]

  beforeEach(async () => {
    sinks = []
    hub = await startDelivery({ attemptTimeoutMs: 60_000 })
  })
  afterEach(async () => {
    await Promise.all(sinks.map((sink) => sink.close()))
    await hub.close()
  })

  async function sinkThat(answer: Sink['answer']): Promise<Sink> {
    const sink = await startSink()
    sink.answer = answer
    sinks.push(sink)
    return sink
  }
  const addStream = async (sink: Sink) =>
    await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: sink.url })

  it('reads a stream again that was changed in silence, though attempts of others do not end', async () => {
    const silent = await sinkThat(() => {})
    const former = await sinkThat((_request, res) => void res.writeHead(503, { 'retry-after': '60' }).end())
    const latter = await sinkThat((_request, res) => void res.writeHead(202).end())
    for (let count = 0; count < 8; count += 1) await addStream(silent)
    await hub.fanOut([hub.event()])
    await waitUntil('the attempts', () => silent.received.length === 8)
    const streamId = await addStream(former)
    await hub.fanOut([hub.event()])
    await waitUntil('the rest of the other', () => former.received.length === 1)
    await hub.fanOut([hub.event({ subject: { format: 'opaque', id: 'waits' } })])
    await hub.rows(
      'update streams set version = version + 1, endpoint_url = case stream_id when ? then ? else endpoint_url end',
      [streamId, latter.url],
    )
    await waitUntil('the SET that waits', () => latter.received.length > 0)
    assert.equal(former.received.length, 1)
  })

  it('leaves no timer behind for a row whose attempt ends while it stops', async () => {
    let fail = () => {}
    const sink = await sinkThat((_request, res) => {
      fail = () => void res.writeHead(503, { 'retry-after': '60' }).end()
    })
    await addStream(sink)
    await hub.fanOut([hub.event()])
    await waitUntil('the attempt', () => sink.received.length === 1)
    const { setTimeout: set, clearTimeout: clear } = globalThis
    const timers = new Set<unknown>()
    let long = 0
    globalThis.setTimeout = ((act: () => void, ms: number) => {
      const timer = set(act, ms)
      if (ms > 50_000) {
        long += 1
        timers.add(timer)
      }
      return timer
    }) as typeof setTimeout
    globalThis.clearTimeout = ((timer: NodeJS.Timeout) => {
      timers.delete(timer)
      clear(timer)
    }) as typeof clearTimeout
    try {
      const stopped = hub.delivery.sender.stop()
      fail()
      await stopped
      assert.deepEqual([long, timers.size], [1, 0])
    } finally {
      globalThis.setTimeout = set
      globalThis.clearTimeout = clear
      for (const timer of timers) clear(timer as NodeJS.Timeout)
    }
  })

  it('looks again for all that is open of a shard where the first look failed', async () => {
    const sink = await sinkThat((_request, res) => void res.writeHead(202).end())
    const streamId = await addStream(sink)
    const shard = shardOf(streamId)
    const owned = new Set([shard])
    const found: string[] = []
    const broken = openPool('postgres://127.0.0.1:1/none', { name: 'away', max: 1 })
    let db = broken
    const work = createOpenWork({
      // Away at first.
      get db() {
        return db
      },
      logger: silentLogger,
      isOwned: (one) => owned.has(one),
      found: (id) => void found.push(id),
    })
    await queueOld(streamId, shard)
    await work.look([shard])
    assert.deepEqual(found, [])
    db = hub.db
    // What fell due long ago is no work of a hint.
    work.hint([shard])
    work.lookAgain([shard])
    await waitUntil('the stream', () => found.length > 0)
    work.lookAgain([shard])
    owned.clear()
    work.lookAgain([shard])
    assert.deepEqual(found, [streamId])
    await broken.destroy()
  })

  /** A row of an hour ago that nobody has tried. */
  async function queueOld(streamId: string, shard: number): Promise<void> {
    await hub.rows(
      `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id,
         accepted_at, expects, next_attempt_at)
       select ?::uuid, 1, gen_random_uuid(), current_date, receiver_id, ?, 't', 'tightens', 'old', gen_random_uuid(), now(), 1,
         now() - interval '1 hour' from streams where stream_id = ?::uuid`,
      [streamId, shard, streamId],
    )
  }
})
