import assert from 'node:assert/strict'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { createTransmitterRegistry } from '../../src/ingest/transmitter-registry.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { manualClock, TRANSMITTER_ID, transmitterOf } from './ingest-fixture.js'

describe('ingest: the registry in memory', () => {
  const stored = new Map<string, Transmitter>()
  let away = false
  let queries = 0
  let clock: ReturnType<typeof manualClock>

  const query = async <T>(read: () => T): Promise<T> => {
    queries += 1
    const found = read()
    await new Promise((resolve) => setImmediate(resolve))
    if (away) throw new Error('connection refused')
    return found
  }
  const open = () =>
    createTransmitterRegistry({
      loadAll: () => query(() => [...stored.values()]),
      findOne: (id) => query(() => stored.get(id)),
      clock,
      logger: silentLogger,
      refreshEveryMs: 60_000,
    })

  beforeEach(() => {
    stored.clear()
    stored.set(TRANSMITTER_ID, transmitterOf())
    away = false
    queries = 0
    clock = manualClock()
  })

  it('finds from memory without a query', async () => {
    const registry = open()
    await registry.refresh()
    for (let index = 0; index < 10; index += 1)
      assert.equal((await registry.find(TRANSMITTER_ID))?.name, 'idp')
    assert.equal(queries, 1)
  })

  it('finds one registered a moment ago elsewhere, by one query for many SETs', async () => {
    const registry = open()
    await registry.refresh()
    stored.set('new', transmitterOf({ id: 'new', name: 'new' }))
    const found = await Promise.all(Array.from({ length: 20 }, () => registry.find('new')))
    assert.ok(found.every((transmitter) => transmitter?.name === 'new'))
    assert.equal(queries, 2)
    assert.equal(await registry.find('other'), undefined)
  })

  it('goes on for five minutes while Postgres is away, then says later', async () => {
    const registry = open()
    await registry.refresh()
    away = true
    clock.advance(299_000)
    await registry.refresh()
    assert.equal((await registry.find(TRANSMITTER_ID))?.name, 'idp')
    assert.equal(registry.health().ok, true)
    assert.match(registry.health().reason ?? '', /299 s ago/)
    await assert.rejects(registry.find('unknown'), Unavailable)
    clock.advance(2_000)
    await assert.rejects(registry.find(TRANSMITTER_ID), Unavailable)
    assert.equal(registry.health().ok, false)
    away = false
    await registry.refresh()
    assert.equal((await registry.find(TRANSMITTER_ID))?.name, 'idp')
  })

  it('sees a change that was committed while it was reading', async () => {
    const registry = open()
    const reading = registry.refresh()
    stored.set(TRANSMITTER_ID, transmitterOf({ name: 'renamed', version: 2 }))
    await registry.refresh()
    await reading
    assert.equal((await registry.find(TRANSMITTER_ID))?.name, 'renamed')
  })

  it('forgets what was deleted', async () => {
    const registry = open()
    await registry.refresh()
    stored.clear()
    await registry.refresh()
    assert.equal(await registry.find(TRANSMITTER_ID), undefined)
  })

  it('sends a flood of unknown ids away instead of queueing queries', async () => {
    const registry = open()
    await registry.refresh()
    const flood = await Promise.allSettled(
      Array.from({ length: 100 }, (_, index) => registry.find(`u${index}`)),
    )
    assert.equal(flood.filter(({ status }) => status === 'fulfilled').length, 8)
    assert.equal(queries, 9)
    await registry.find('u0')
  })

  it('starts and stops, also when Postgres is away at first', async () => {
    away = true
    const registry = open()
    await registry.start()
    assert.equal(registry.health().ok, false)
    await registry.stop()
  })
})
