import assert from 'node:assert/strict'
import type { PostgresEventLog } from '../../src/eventlog/postgres-event-log.js'
import { waitUntil } from '../support/wait.js'
import { ALL_SLOTS, createGate, type DirectRig, idsOf, openDirectRig, watch } from './direct-rig.js'
import { makeEvent } from './log-fixtures.js'

describe('Postgres log: events that the process reads itself', () => {
  let rig: DirectRig
  const gates: ReturnType<typeof createGate>[] = []

  beforeEach(async () => {
    rig = await openDirectRig()
  })
  afterEach(async () => {
    for (const gate of gates.splice(0)) gate.open()
    await rig.close()
  })

  function newGate() {
    const gate = createGate()
    gates.push(gate)
    return gate
  }

  /** How many rows the log made of one event that is appended now. */
  async function rowsOf(log: PostgresEventLog, event = makeEvent()): Promise<number> {
    const before = await rig.rowsMade()
    await log.append([event])
    return (await rig.rowsMade()) - before
  }

  it('are handled without ever being a row, and counted like all others', async () => {
    const { log } = await rig.openDirect()
    const before = await rig.rowsMade()
    const [appended, read] = ['firebreak_log_appended_records_total', 'firebreak_log_read_records_total']
    const counted = [await rig.metric(appended), await rig.metric(read)] as const
    const flushes = await rig.metric('firebreak_log_append_seconds_count')
    const events = Array.from({ length: 5 }, (_, slot) => makeEvent({ slot }))
    await log.append(events)
    assert.deepEqual(await rig.effects(), idsOf(events))
    assert.equal(await rig.rowsMade(), before)
    assert.equal((await rig.metric(appended)) - counted[0], 5)
    assert.equal((await rig.metric(read)) - counted[1], 5)
    assert.ok((await rig.metric('firebreak_log_append_seconds_count')) > flushes)
  })

  it('are not acknowledged before their effect is stored', async () => {
    const { log, hook } = await rig.openDirect()
    const gate = newGate()
    hook.before = () => gate.passed
    const append = log.append([makeEvent()])
    const watched = watch(append)
    await waitUntil('the handler', () => rig.handed.length > 0)
    await rig.db.raw('select 1')
    assert.equal(watched.isSettled, false)
    gate.open()
    await append
    assert.equal((await rig.effects()).length, 1)
  })

  it('become rows when the handler fails, and are handled later', async () => {
    const { log, reader, hook } = await rig.openDirect()
    const event = makeEvent()
    const others: unknown[] = []
    let calls = 0
    hook.before = () => {
      calls += 1
      if (calls > 1) others.push(reader.offer(event))
      if (calls <= 2) throw new Error('the handler fails')
    }
    assert.equal(await rowsOf(log, event), 1)
    await waitUntil('the effect', async () => (await rig.effects()).length > 0)
    assert.deepEqual(await rig.effects(), [event.eventId])
    await waitUntil('the row to be closed', async () => (await rig.openRows()) === 0)
    // Nor is any other taken straight until the handler succeeds.
    assert.deepEqual(others, [undefined, undefined])
    await rig.untilDirect(log)
  })

  it('become rows while a handler does not end, those behind it too, and are given once more', async () => {
    const { log, hook } = await rig.openDirect()
    const gate = newGate()
    hook.before = () => gate.passed
    const before = await rig.rowsMade()
    const [first, second, third] = [makeEvent(), makeEvent(), makeEvent()]
    const appended = log.append([first])
    await waitUntil('the handler', () => rig.handed.length > 0)
    // One waits behind the batch that hangs, one comes when it is known to hang.
    await Promise.all([appended, log.append([second])])
    await log.append([third])
    assert.equal((await rig.rowsMade()) - before, 3)
    assert.deepEqual(rig.handed, [[first.eventId]])
    assert.deepEqual(await rig.effects(), [])
    gate.open()
    await waitUntil('the rows', async () => (await rig.openRows()) === 0)
    assert.deepEqual(rig.handed.flat(), idsOf([first, first, second, third]))
    await rig.untilDirect(log)
  })

  it('are rows where nobody of this process reads: no reader, one not started, one stopped', async () => {
    const log = rig.openLog()
    assert.equal(await rowsOf(log), 1)
    const reader = log.subscribe('urgent', rig.store())
    assert.equal(await rowsOf(log), 1)
    await reader.start()
    await rig.untilDirect(log)
    assert.equal(await rowsOf(log), 0)
    await reader.stop()
    assert.equal(await rowsOf(log), 1)
  })

  it('are rows while other processes read some of the slots, and in lanes that are not read', async () => {
    const { log } = await rig.openDirect()
    assert.equal(await rowsOf(log, makeEvent({ lane: 'routine' })), 1)
    rig.slots.set(ALL_SLOTS.slice(1))
    assert.equal(await rowsOf(log, makeEvent({ slot: 0 })), 1)
    assert.equal(await rowsOf(log, makeEvent({ slot: 1 })), 1)
    rig.slots.set(ALL_SLOTS)
    await rig.untilDirect(log)
  })

  it('are rows when they wait for the relay', async () => {
    const log = rig.openLog(true)
    await rig.start(log, rig.store())
    await log.append([makeEvent()])
    await waitUntil('the first', async () => (await rig.effects()).length === 1)
    assert.equal(await rowsOf(log), 1)
  })

  it('are rows while the reader has more of them before it than it takes at once', async () => {
    const log = rig.openLog()
    const before = Array.from({ length: 501 }, () => makeEvent())
    await log.append(before)
    const gate = newGate()
    const handler = rig.store(() => gate.passed)
    const reader = await rig.start(log, handler)
    await waitUntil('the handler', () => rig.handed.length > 0)
    const last = makeEvent()
    assert.equal(reader.offer(last), undefined)
    assert.equal(await rowsOf(log, last), 1)
    gate.open()
    await waitUntil('all', async () => (await rig.effects()).length === 502)
    assert.deepEqual(await rig.effects(), idsOf([...before, last]))
    await rig.untilDirect(log)
  })

  it('become rows when the reader stops before their turn', async () => {
    const { log, reader, hook } = await rig.openDirect()
    const gate = newGate()
    hook.before = () => gate.passed
    const before = await rig.rowsMade()
    const first = log.append([makeEvent()])
    await waitUntil('the handler', () => rig.handed.length > 0)
    const second = log.append([makeEvent()])
    const stopped = reader.stop()
    gate.open()
    await Promise.all([first, second, stopped])
    assert.equal((await rig.effects()).length, 1)
    assert.equal((await rig.rowsMade()) - before, 1)
    assert.equal(await rig.openRows(), 1)
  })

  it('tell that storing works again, after rows could not be stored', async () => {
    const { log } = await rig.openDirect()
    const lock = await rig.db.transaction()
    await lock.raw('lock table event_log in share mode')
    // Nobody reads that lane here, so it must be a row.
    const row = log.append([makeEvent({ lane: 'routine' })])
    await assert.rejects(row, { code: 'ERR_LOG_UNAVAILABLE' })
    assert.equal(log.health().ok, false)
    await lock.rollback()
    await log.append([makeEvent()])
    assert.deepEqual(log.health(), { ok: true })
  })
})
