import assert from 'node:assert/strict'
import type { Receiver } from '../../src/auth/receiver.js'
import { sqlRows } from '../../src/storage/database.js'
import { createReceiverChanges } from '../../src/streams/receiver-changes.js'
import { createSsfHarness, type SsfHarness } from './ssf-harness.js'

describe('streams: changes of a receiver', () => {
  let ssf: SsfHarness
  before(async () => {
    ssf = await createSsfHarness()
  })
  after(() => ssf.close())

  const versionOf = async (streamId: string) => {
    const sql = 'select version from streams where stream_id = ?'
    return (await sqlRows<{ version: number }>(ssf.db, sql, [streamId]))[0]?.version ?? 0
  }

  it('raise the version of its streams, also when no type of event changes, so that nothing matched before goes out', async () => {
    const receiver = await ssf.addReceiver('regranted')
    const other = await ssf.addReceiver('untouched')
    const streams = [await ssf.createStream(receiver), await ssf.createStream(receiver)]
    const untouched = await ssf.createStream(other)
    const before = await Promise.all([...streams, untouched].map(versionOf))
    const changes = createReceiverChanges({
      db: ssf.db,
      streams: ssf.streams,
      observer: ssf.observer,
      openWork: { discard: async () => {} },
    })
    await ssf.db.transaction(async (trx) => {
      await trx('receivers').where({ id: receiver.id }).update({ grant_sources: [] })
      await changes.changing(trx, { id: receiver.id } as Receiver)
    })
    const after = await Promise.all([...streams, untouched].map(versionOf))
    assert.deepEqual(
      after.map((version, index) => version - (before[index] ?? 0)),
      [1, 1, 0],
    )
  })
  it('are told to whoever sends, stream by stream, also of a receiver that is gone', async () => {
    const receiver = await ssf.addReceiver('deleted')
    const streams = [await ssf.createStream(receiver), await ssf.createStream(receiver)]
    const discarded: string[] = []
    const changes = createReceiverChanges({
      db: ssf.db,
      streams: ssf.streams,
      observer: ssf.observer,
      openWork: { discard: async (_trx, id, outcome) => void discarded.push(`${outcome} ${id}`) },
    })
    ssf.observer.changed.length = 0
    await changes.changed(receiver.id)
    assert.deepEqual([...ssf.observer.changed].sort(), [...streams].sort())
    await ssf.db.transaction(async (trx) => {
      await changes.deleting(trx, { id: receiver.id } as Receiver)
      await trx('receivers').where({ id: receiver.id }).delete()
    })
    assert.deepEqual(discarded.sort(), streams.map((id) => `deleted ${id}`).sort())
    ssf.observer.changed.length = 0
    await changes.changed(receiver.id)
    assert.deepEqual([...ssf.observer.changed].sort(), [...streams].sort())
    ssf.observer.changed.length = 0
    await changes.changed(receiver.id)
    assert.deepEqual(ssf.observer.changed, [], 'told once')
  })
})
