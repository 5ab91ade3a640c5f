import assert from 'node:assert/strict'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { createTransmitterRegistry } from '../../src/ingest/transmitter-registry.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { waitUntil } from '../support/wait.js'
import { listLogger, manualClock, TRANSMITTER_ID, transmitterOf } from './ingest-fixture.js'

describe('ingest: the registry in memory', () => {
  const stored = new Map<string, Transmitter>()
  let away = false
  let queries = 0
  let clock: ReturnType<typeof manualClock>
  let { lines, logger } = listLogger()

  const query = async <T>(read: () => T): Promise<T> => {
    queries += 1
    const found = read()
    await new Promise((resolve) => setImmediate(resolve))
    if (away) throw new Error('connection refused')
    return found
  }
  const open = (refreshEveryMs = 60_000) =>
    createTransmitterRegistry({
      loadAll: () => query(() => [...stored.values()]),
      findOne: (id) => query(() => stored.get(id)),
      clock,
      logger,
      refreshEveryMs,
    })

  beforeEach(() => {
    stored.clear()
    stored.set(TRANSMITTER_ID, transmitterOf())
    away = false
    queries = 0
    clock = manualClock()
    ;({ lines, logger } = listLogger())
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
    assert.equal((await registry.find('new'))?.name, 'new')
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
    const refused = flood.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
    assert.equal(refused.length, 92)
    for (const reason of refused) assert.ok(reason instanceof Unavailable && reason.retryAfterS === 1)
    assert.equal(queries, 9)
    // What has been answered makes room for others.
    const next = Array.from({ length: 8 }, (_, index) => registry.find(`v${index}`))
    assert.deepEqual(await Promise.all(next), Array(8).fill(undefined))
  })

  it('counts for five minutes to the millisecond', async () => {
    const registry = open()
    await registry.refresh()
    stored.clear()
    clock.advance(300_000)
    assert.equal((await registry.find(TRANSMITTER_ID))?.name, 'idp')
    assert.equal(registry.health().ok, true)
    clock.advance(1)
    assert.equal(await registry.find(TRANSMITTER_ID), undefined)
    assert.equal(registry.health().ok, false)
  })

  it('is in good health until three refreshes are missing, and 15 s at least', async () => {
    for (const [refreshEveryMs, freshForMs] of [
      [60_000, 180_000],
      [5_000, 15_000],
      [1_000, 15_000],
    ] as const) {
      const registry = open(refreshEveryMs)
      await registry.refresh()
      clock.advance(freshForMs)
      assert.deepEqual(registry.health(), { ok: true })
      clock.advance(1)
      const reason = `The registry of transmitters was last read ${freshForMs / 1000} s ago.`
      assert.deepEqual(registry.health(), { ok: true, reason })
    }
    assert.match(open().health().reason ?? '', /last read never/)
  })

  it('tells in the log that it cannot be read, and how old it is', async () => {
    const registry = open()
    away = true
    await registry.refresh()
    away = false
    await registry.refresh()
    away = true
    clock.advance(7_000)
    await registry.refresh()
    const event = 'transmitter_registry.refresh_failed'
    assert.deepEqual(
      lines.map(({ fields, ...line }) => ({ ...line, age_s: fields.age_s, error: fields.error })),
      [undefined, 7].map((age_s) => ({ level: 'warn', event, age_s, error: 'connection refused' })),
    )
    await assert.rejects(
      registry.find('unknown'),
      (error: unknown) => error instanceof Unavailable && error.detail === 'connection refused',
    )
  })

  it('reads again by itself, again and again, until it is stopped', async () => {
    const registry = open(1)
    await registry.start()
    stored.set(TRANSMITTER_ID, transmitterOf({ name: 'renamed', version: 2 }))
    await waitUntil('the change', async () => (await registry.find(TRANSMITTER_ID))?.name === 'renamed')
    const before = queries
    await waitUntil('further reads', () => queries > before + 3)
    await registry.stop()
  })

  it('starts and stops, also when Postgres is away at first', async () => {
    away = true
    const registry = open()
    await registry.start()
    assert.equal(registry.health().ok, false)
    await registry.stop()
  })
})
