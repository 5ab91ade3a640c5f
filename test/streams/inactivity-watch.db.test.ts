import assert from 'node:assert/strict'
import { silentLogger } from '../../src/kernel/logger.js'
import { SSF } from '../../src/secevent/event-types.js'
import { createIdleStreamReadModel } from '../../src/streams/idle-stream-read-model.js'
import { createInactivityWatch } from '../../src/streams/inactivity-watch.js'
import { createStreamRepository } from '../../src/streams/stream-repository.js'
import { waitUntil } from '../support/wait.js'
import { createSsfHarness, type SsfHarness, type TestReceiver } from './ssf-harness.js'

describe('SSF 1.0 §8.1.1 inactivity_timeout (T-79)', () => {
  let ssf: SsfHarness
  let a: TestReceiver
  before(async () => {
    ssf = await createSsfHarness({ inactivityTimeoutS: 3600 })
    a = await ssf.addReceiver('gateway-a')
  })
  after(() => ssf.close())

  const watch = () =>
    createInactivityWatch({
      db: ssf.db,
      statuses: ssf.statuses,
      inactivityTimeoutS: 3600,
      everyMs: 60_000,
      logger: silentLogger,
    })
  const silence = () => ssf.db('streams').update({ active_at: new Date(Date.now() - 3_661_000) })
  const isIdle = async (id: string) =>
    (await createIdleStreamReadModel(ssf.db).find(3600)).some(({ streamId }) => streamId === id)

  it('is advertised, and pauses a silent stream with word to its receiver', async () => {
    const created = await ssf.call('post', '/ssf/streams', a.token, {})
    assert.equal(created.body.inactivity_timeout, 3600)
    assert.equal(await watch().sweep(), 0)
    await silence()
    assert.equal(await watch().sweep(), 1)
    assert.equal((await ssf.statuses.read(a.id, created.body.stream_id)).status, 'paused')
    const [event] = (await ssf.logged()).slice(-1)
    assert.equal(event?.type, SSF.streamUpdated)
    assert.equal(event?.claims.status, 'paused')
    assert.equal(await watch().sweep(), 0)
  })

  it('begins anew with any management call that names the stream, and with a poll', async () => {
    const id = await ssf.createStream(a)
    const subject = { format: 'email', email: 'ann@example.com' }
    const calls: (() => Promise<unknown>)[] = [
      async () => ssf.call('get', `/ssf/streams?stream_id=${id}`, a.token),
      async () => ssf.call('get', `/ssf/status?stream_id=${id}`, a.token),
      async () => ssf.call('patch', '/ssf/streams', a.token, { stream_id: id }),
      async () => ssf.call('post', '/ssf/status', a.token, { stream_id: id, status: 'enabled' }),
      async () => ssf.call('post', '/ssf/verify', a.token, { stream_id: id }),
      async () => ssf.call('post', '/ssf/subjects/add', a.token, { stream_id: id, subject }),
      () => createStreamRepository(ssf.db).touch([id]),
    ]
    for (const call of calls) {
      await silence()
      assert.equal(await isIdle(id), true)
      await call()
      assert.equal(await isIdle(id), false)
    }
  })

  it('begins anew with a call about the stream that is refused, and not with one by a stranger', async () => {
    const [id, untouched] = [await ssf.createStream(a), await ssf.createStream(a)]
    const b = await ssf.addReceiver('stranger')
    const refused: [string, object][] = [
      ['/ssf/status', { stream_id: id, status: 'stopped' }],
      ['/ssf/verify', { stream_id: id, state: 7 }],
      ['/ssf/subjects/add', { stream_id: id }],
    ]
    for (const [path, body] of refused) {
      await silence()
      await ssf.call('post', path, b.token, { ...body, stream_id: untouched })
      assert.equal((await ssf.call('post', path, a.token, body)).status, 400)
      await waitUntil('the call is noted', async () => !(await isIdle(id)))
      assert.equal(await isIdle(untouched), true)
    }
  })

  it('is a receiver’s own where it has one: longer, shorter or none (T-79)', async () => {
    const ids = new Map<string, string>()
    for (const [name, inactivityTimeoutS] of [
      ['short', 60],
      ['long', 7200],
      ['never', 0],
    ] as const) {
      const receiver = await ssf.addReceiver(name, { inactivityTimeoutS })
      const created = await ssf.call('post', '/ssf/streams', receiver.token, {})
      assert.equal(created.body.inactivity_timeout, inactivityTimeoutS || undefined)
      ids.set(name, created.body.stream_id)
      // What is claimed of it on PATCH is compared with what is its own.
      const patch = { stream_id: created.body.stream_id, inactivity_timeout: 3600 }
      assert.equal((await ssf.call('patch', '/ssf/streams', receiver.token, patch)).status, 400)
    }
    await silence()
    await watch().sweep()
    const statuses = await ssf
      .db('streams')
      .whereIn('stream_id', [...ids.values()])
      .select('stream_id', 'status')
    const statusOf = (name: string) => statuses.find((row) => row.stream_id === ids.get(name))?.status
    assert.deepEqual(['short', 'long', 'never'].map(statusOf), ['paused', 'enabled', 'enabled'])
  })

  it('is not over before a poll could have been noted', async () => {
    const id = await ssf.createStream(a)
    await ssf.db('streams').update({ active_at: new Date(Date.now() - 3_630_000) })
    assert.equal(await isIdle(id), false)
  })

  it('is not ready while it cannot look, says why, and goes on with the next look', async () => {
    let broken = true
    const worker = createInactivityWatch({
      db: ssf.db,
      statuses: {
        async setStatusByHub(...args) {
          if (broken) throw new Error('no connection')
          return ssf.statuses.setStatusByHub(...args)
        },
      },
      inactivityTimeoutS: 3600,
      everyMs: 10,
      logger: silentLogger,
    })
    await ssf.createStream(a)
    await silence()
    await worker.start()
    await waitUntil('it fails', async () => !worker.health().ok)
    assert.match(worker.health().reason ?? '', /no connection/)
    broken = false
    await waitUntil('it is well again', async () => worker.health().ok)
    await worker.stop()
    assert.equal(await watch().sweep(), 0)
  })

  it('passes over a stream that is deleted meanwhile, and pauses the others', async () => {
    const [gone, left] = [await ssf.createStream(a), await ssf.createStream(a)]
    await silence()
    const paused = await createInactivityWatch({
      db: ssf.db,
      statuses: {
        async setStatusByHub(id, ...args) {
          if (id === gone) await ssf.streams.delete(a.id, gone)
          return ssf.statuses.setStatusByHub(id, ...args)
        },
      },
      inactivityTimeoutS: 3600,
      everyMs: 60_000,
      logger: silentLogger,
    }).sweep()
    assert.equal(paused, 1)
    const { status, reason } = await ssf.statuses.read(a.id, left)
    assert.deepEqual([status, reason], ['paused', 'No activity of the receiver for 3600 s.'])
  })

  it('looks as soon as it starts, and stops at once', async () => {
    const id = await ssf.createStream(a)
    await silence()
    const worker = watch()
    await worker.start()
    await worker.stop()
    assert.equal((await ssf.statuses.read(a.id, id)).status, 'paused')
    assert.deepEqual(worker.health(), { ok: true })
  })
})
