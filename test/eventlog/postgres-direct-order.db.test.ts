import assert from 'node:assert/strict'
import { BatchTaken } from '../../src/eventlog/event-log.js'
import { waitUntil } from '../support/wait.js'
import { ALL_SLOTS, createGate, type DirectRig, idsOf, openDirectRig } from './direct-rig.js'
import { makeEvent } from './log-fixtures.js'

describe('Postgres log: rows and events that are no rows', () => {
  let rig: DirectRig
  const ending: (() => Promise<unknown>)[] = []

  beforeEach(async () => {
    rig = await openDirectRig()
  })
  afterEach(async () => {
    for (const end of ending.splice(0)) await end()
    await rig.close()
  })

  it('come in one batch, the rows first', async () => {
    const { log, hook } = await rig.openDirect()
    const gate = createGate()
    hook.before = () => gate.passed
    const running = makeEvent({ slot: 1 })
    const [handedOver, row] = [makeEvent({ slot: 2 }), makeEvent({ slot: 2 })]
    const appends = [log.append([running])]
    await waitUntil('the handler', () => rig.handed.length > 0)
    appends.push(log.append([handedOver]))
    await rig.db.transaction((trx) => log.appendIn(trx, [row]))
    log.wake(['urgent'])
    gate.open()
    await Promise.all(appends)
    await waitUntil('all', async () => (await rig.effects()).length >= 3)
    assert.deepEqual(rig.handed, [[running.eventId], [row.eventId, handedOver.eventId]])
  })

  it('keep their order: what arrives while a row of its slot is being stored is a row too', async () => {
    const { log } = await rig.openDirect()
    rig.slots.set([])
    const before = await rig.rowsMade()
    const lock = await rig.db.transaction()
    // Undone by the end of the test too, should it fail.
    ending.push(() => lock.rollback())
    // Rows can be read, but not added.
    await lock.raw('lock table event_log in share mode')
    const [row, next, last] = [makeEvent({ slot: 2 }), makeEvent({ slot: 2 }), makeEvent({ slot: 2 })]
    const appends = [log.append([row])]
    rig.slots.set(ALL_SLOTS)
    appends.push(log.append([next]), log.append([last]))
    // Long enough to be handled, did they not wait.
    for (let turn = 0; turn < 20; turn += 1) await rig.db.raw('select 1')
    assert.deepEqual(rig.handed, [])
    await lock.rollback()
    await Promise.all(appends)
    await waitUntil('all', async () => (await rig.effects()).length === 3)
    assert.deepEqual(await rig.effects(), idsOf([row, next, last]))
    assert.equal((await rig.rowsMade()) - before, 3)
  })

  it('keep their order: a row of another process goes first although no word of it has come', async () => {
    const { log } = await rig.openDirect()
    const other = rig.openLog()
    for (let round = 0; round < 10; round += 1) {
      const [first, second] = [makeEvent({ slot: 5 }), makeEvent({ slot: 5 })]
      await other.append([first])
      await log.append([second])
      await waitUntil('both', async () => (await rig.effects()).length === 2)
      assert.deepEqual(await rig.effects(), idsOf([first, second]))
      await rig.db.raw('truncate effects')
    }
  })

  it('of one append take each its own way', async () => {
    const { log } = await rig.openDirect()
    const [row, straight] = [makeEvent({ lane: 'routine' }), makeEvent()]
    const before = await rig.rowsMade()
    await log.append([row, straight])
    assert.deepEqual(await rig.effects(), [straight.eventId])
    assert.equal((await rig.rowsMade()) - before, 1)
  })

  for (const keepForRelay of [false, true]) {
    it(`store nothing of a batch of which another process settled a row first${keepForRelay ? ', also with Kafka' : ''}`, async () => {
      const log = rig.openLog(keepForRelay)
      const events = [makeEvent(), makeEvent(), makeEvent()]
      await log.append(events)
      const errors: unknown[] = []
      let storedThen: string[] | undefined
      const handler = rig.store(async () => {
        if (rig.handed.length > 1) return
        const settle = keepForRelay ? 'update event_log set relay = true' : 'delete from event_log'
        await rig.db.raw(`${settle} where id = (select min(id) from event_log)`)
      })
      await rig.start(log, async (batch) => {
        await handler(batch).catch(async (error: unknown) => {
          errors.push(error)
          storedThen = await rig.effects()
          throw error
        })
      })
      await waitUntil('the rest', async () => (await rig.openRows()) === 0)
      assert.equal(errors.length, 1)
      assert.ok(errors[0] instanceof BatchTaken)
      assert.deepEqual(storedThen, [])
      assert.deepEqual(await rig.effects(), idsOf(events.slice(1)))
    })
  }
})
