import assert from 'node:assert/strict'
import { createClock } from '../../src/kernel/clock.js'
import { type Database, openPool } from '../../src/storage/database.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

interface Statement {
  readonly text: string
  readonly values?: readonly unknown[]
}
interface Spied {
  query(config: Statement, ...rest: unknown[]): Promise<unknown> | undefined
}

const MINUTE_MS = 60_000
const SWEEP_MS = 5_000
const isTargetRead = ({ text }: Statement) => text.includes('from streams s join receivers r')
const isVersionRead = ({ text }: Statement) => text.startsWith('select stream_id, version')
const isClaim = ({ text }: Statement) => text.includes('q.delivered_at is not null as delivered')
/** Each sweep asks so once. */
const isSweep = ({ text }: Statement) => text.startsWith('select distinct q.stream_id')

describe('the streams that a sender owes nothing', () => {
  let hub: DeliveryHarness
  let sink: Sink
  let pool: Database
  let sweeps: (() => void)[]
  /** What the sender's pool has answered. */
  let answered: Statement[]
  /** What it was asked. */
  let sent: Statement[]
  let skippedMs: number

  beforeEach(async () => {
    sink = await startSink()
  })
  afterEach(async () => {
    await sink.close()
    await hub.close()
    await pool.destroy()
  })

  /** Its sweeps come by hand, so that none falls between an event and its result. */
  async function start(maxReady?: number): Promise<void> {
    sweeps = []
    answered = []
    sent = []
    skippedMs = 0
    const { monotonicMs, ...rest } = createClock()
    const clock = { ...rest, monotonicMs: () => monotonicMs() + skippedMs }
    const { setInterval: set } = globalThis
    globalThis.setInterval = ((act: () => void, ms: number) => {
      if (ms !== SWEEP_MS) return set(act, ms)
      sweeps.push(act)
      return undefined
    }) as unknown as typeof setInterval
    try {
      const poolsOf = (url: string) => {
        pool = openSpiedPool(url)
        return { control: pool, urgent: pool, routine: pool, system: pool }
      }
      hub = await startDelivery({ poolsOf, clock, ...(maxReady !== undefined && { maxReady }) })
    } finally {
      globalThis.setInterval = set
    }
  }

  function openSpiedPool(url: string): Database {
    const db = openPool(url, { name: 'spied', max: 5 })
    const connections = db.client as { acquireConnection(): Promise<Spied> }
    const acquire = connections.acquireConnection.bind(connections)
    const spied = new WeakSet<Spied>()
    connections.acquireConnection = async () => {
      const connection = await acquire()
      if (spied.has(connection)) return connection
      spied.add(connection)
      const query = connection.query.bind(connection)
      connection.query = (statement, ...more) => {
        sent.push(statement)
        const answer = query(statement, ...more)
        const note = () => void answered.push(statement)
        answer?.then(note, note)
        return answer
      }
      return connection
    }
    return db
  }

  async function sweep(): Promise<void> {
    const count = () => answered.filter(isSweep).length
    const before = count()
    for (const act of sweeps) act()
    await waitUntil('the sweep', () => count() > before)
  }

  /** Resolves when nothing is owed any more. */
  async function deliver(count: number): Promise<void> {
    const before = sink.received.length
    await hub.fanOut([hub.event()])
    await waitUntil('the SETs', () => sink.received.length === before + count)
    await waitUntil('the results', async () => (await hub.rows('select 1 from delivery_queue')).length === 0)
  }

  async function addStreams(count: number): Promise<string> {
    let streamId = ''
    for (let n = 0; n < count; n += 1)
      streamId = await hub.addStream({ receiverId: await hub.addReceiver(), endpointUrl: sink.url })
    return streamId
  }

  /** How many it has in memory: each sweep asks whether they were changed. */
  async function countInMemory(): Promise<number> {
    sent.length = 0
    await sweep()
    const asked = sent.filter(isVersionRead).map(({ values }) => values?.[0] as string[])
    return asked.flat().length
  }

  it('stay ready: after a sweep their next SET goes out without a look at the stream or at its lanes', async () => {
    await start()
    await addStreams(2)
    await deliver(2)
    assert.ok(sent.some(isTargetRead) && sent.some(isClaim))
    await sweep()
    await sweep()
    sent.length = 0
    await deliver(2)
    assert.deepEqual(
      sent.filter((one) => isTargetRead(one) || isClaim(one)),
      [],
    )
  })

  it('are forgotten once they were owed nothing for 15 minutes', async () => {
    await start()
    await addStreams(2)
    await deliver(2)
    await sweep()
    skippedMs += 14 * MINUTE_MS
    await sweep()
    sent.length = 0
    await deliver(2)
    assert.deepEqual(sent.filter(isTargetRead), [])
    await sweep()
    skippedMs += 16 * MINUTE_MS
    await sweep()
    assert.equal(await countInMemory(), 0)
  })

  it('rest from their last SET on, also when no sweep saw them at work', async () => {
    await start()
    await addStreams(1)
    await deliver(1)
    sent.length = 0
    for (let time = 0; time < 3; time += 1) {
      await sweep()
      skippedMs += 10 * MINUTE_MS
      await deliver(1)
    }
    assert.deepEqual(sent.filter(isTargetRead), [])
  })

  it('are forgotten at once when there are more streams than may be in memory', async () => {
    await start(2)
    await addStreams(5)
    await deliver(5)
    await sweep()
    assert.equal(await countInMemory(), 2)
  })

  it('are forgotten at once when they are gone', async () => {
    await start()
    const streamId = await addStreams(1)
    await deliver(1)
    await hub.rows('delete from stream_event_types where stream_id = ?', [streamId])
    await hub.rows('delete from streams where stream_id = ?', [streamId])
    await waitUntil('it to be forgotten', async () => {
      sent.length = 0
      await sweep()
      // While it is in memory, each sweep looks for it.
      await hub.rows('select 1')
      return !sent.some((one) => isTargetRead(one) || isVersionRead(one))
    })
  })

  it('are forgotten at once when they stand on record as failing, and with them the record', async () => {
    await start()
    await addStreams(1)
    sink.answer = (_request, res) => void res.writeHead(503).end()
    const records = () => hub.rows('select 1 from stream_failures')
    await hub.fanOut([hub.event()])
    await waitUntil('the record', async () => (await records()).length === 1)
    await hub.rows('delete from delivery_queue')
    await waitUntil('it to be forgotten', async () => {
      await sweep()
      return (await records()).length === 0
    })
    assert.equal(await countInMemory(), 0)
  })
})
