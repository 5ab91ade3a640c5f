import assert from 'node:assert/strict'
import type { BatchHandler, EventLog, LogBatch } from '../../src/eventlog/event-log.js'
import { createRecordCodec } from '../../src/eventlog/record-codec.js'
import type { Worker } from '../../src/kernel/worker.js'
import type { Lane, SecurityEvent } from '../../src/secevent/event.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import {
  clock,
  foreignKeyPair,
  ISSUER,
  makeEvent,
  type TestKeys,
  type TestSlots,
} from '../eventlog/log-fixtures.js'
import { waitUntil } from '../support/wait.js'

/** One process on the log. */
export interface LogProcess {
  readonly log: EventLog
  readonly keys: TestKeys
  readonly slots: TestSlots
}

/** An implementation with an empty log and database of its own. */
export interface LogRig {
  readonly db: Database
  /** Another process on the same log. */
  open(): Promise<LogProcess>
  /** Puts a text into the log as if it were a record. */
  putRaw(lane: Lane, slot: number, record: string): Promise<void>
  /** Begins to write an event now, which becomes durable only with `finish`. */
  beginAppend(event: SecurityEvent): Promise<{ finish(): Promise<void> }>
  remove(): Promise<void>
}

/** Handlers slower than this are slow, in every rig. */
export const SLOW_HANDLER_MS = 600

interface Effect {
  event_id: string
  slot: number
  reader: string
}

const counts = new Map<string, { defined: number; passed: number }>()

/** Defines the suite for one implementation. The same tests, whatever the log. */
export function describeEventLog(name: string, makeRig: () => Promise<LogRig>): void {
  const count = { defined: 0, passed: 0 }
  counts.set(name, count)
  describe(`event log contract: ${name}`, () => {
    const suite = new LogSuite(makeRig)
    beforeEach(() => suite.begin())
    afterEach(async function () {
      if (this.currentTest?.state === 'passed') count.passed += 1
      await suite.end()
    })
    for (const [title, test] of contractTests) {
      count.defined += 1
      it(title, () => test(suite))
    }
  })
}

/** Prints how many tests each implementation has passed, and fails when they differ. */
export function describeConformance(): void {
  describe('event log contract', () => {
    it('is held by every implementation, with the same number of tests', () => {
      for (const [name, count] of counts)
        console.log(`      ${name}: ${count.passed} of ${count.defined} tests passed`)
      const [first] = counts.values()
      for (const count of counts.values())
        assert.deepEqual(count, { defined: first?.defined, passed: first?.defined })
    })
  })
}

/** What every test needs: a rig, processes that are closed at the end, and a handler with a real effect. */
class LogSuite {
  rig!: LogRig
  private opened: LogProcess[] = []
  private workers: Worker[] = []

  constructor(private readonly makeRig: () => Promise<LogRig>) {}

  async begin(): Promise<void> {
    this.rig = await this.makeRig()
    await this.rig.db.raw(
      'create table effects (n bigserial primary key, event_id uuid unique, lane text, slot int, reader text)',
    )
  }

  async end(): Promise<void> {
    await Promise.all(this.workers.splice(0).map((worker) => worker.stop()))
    await Promise.all(this.opened.splice(0).map(({ log }) => log.close()))
    await this.rig.remove()
  }

  async open(): Promise<LogProcess> {
    const opened = await this.rig.open()
    this.opened.push(opened)
    return opened
  }

  async read(process: LogProcess, lane: Lane, handler: BatchHandler): Promise<Worker> {
    const worker = process.log.subscribe(lane, handler)
    this.workers.push(worker)
    await worker.start()
    return worker
  }

  /** Stores each event once and closes the batch, in one transaction: what fan-out does, in small. */
  store(reader = 'a', before?: (batch: LogBatch) => void | Promise<void>): BatchHandler {
    return async (batch) => {
      await before?.(batch)
      await this.rig.db.transaction(async (trx) => {
        for (const { event } of batch.items) {
          if (!event) continue
          const row = [event.eventId, event.lane, event.slot, reader]
          await trx.raw(
            'insert into effects (event_id, lane, slot, reader) values (?, ?, ?, ?) on conflict do nothing',
            row,
          )
        }
        await batch.close(trx, batch.items)
      })
    }
  }

  effects(): Promise<Effect[]> {
    return sqlRows<Effect>(this.rig.db, 'select event_id, slot, reader from effects order by n')
  }

  async effectsReach(events: readonly SecurityEvent[]): Promise<Effect[]> {
    return waitUntil(`${events.length} effects`, async () => {
      const effects = await this.effects()
      return effects.length >= events.length ? effects : undefined
    })
  }

  async assertStored(events: readonly SecurityEvent[]): Promise<void> {
    const effects = await this.effectsReach(events)
    assert.deepEqual(effects.map((row) => row.event_id).sort(), events.map((event) => event.eventId).sort())
  }
}

const many = (count: number, over: (index: number) => Partial<SecurityEvent> = () => ({})): SecurityEvent[] =>
  Array.from({ length: count }, (_, index) => makeEvent(over(index)))

const contractTests: [string, (suite: LogSuite) => Promise<void>][] = [
  [
    'has an event durable when append resolves: another process reads it after the writer is gone',
    async (suite) => {
      const writer = await suite.open()
      const events = many(3)
      await writer.log.append(events)
      await writer.log.close()
      await suite.read(await suite.open(), 'urgent', suite.store())
      await suite.assertStored(events)
    },
  ],
  [
    'hands over every member of an event as it was appended',
    async (suite) => {
      const { log } = await suite.open()
      const plain = makeEvent({ lane: 'control', slot: 63 })
      const { subject: _, ...rest } = makeEvent({
        lane: 'control',
        quarantine: 'missing_subject',
        effect: 'neutral',
      })
      const targeted = makeEvent({
        lane: 'control',
        targetStreamId: '7c9e6679-7425-40de-944b-e07fc1f90ae7',
        slot: 0,
      })
      const events: SecurityEvent[] = [plain, rest, targeted]
      await log.append(events)
      const seen = new Map<string, SecurityEvent>()
      const note = (batch: LogBatch) => {
        for (const { event } of batch.items) if (event) seen.set(event.eventId, event)
      }
      await suite.read(await suite.open(), 'control', suite.store('a', note))
      await suite.assertStored(events)
      for (const event of events) assert.deepEqual(seen.get(event.eventId), event)
    },
  ],
  [
    'keeps the order within a slot, over many appends',
    async (suite) => {
      const { log } = await suite.open()
      const events = many(240, (index) => ({ slot: index % 3 }))
      for (let index = 0; index < events.length; index += 40)
        await log.append(events.slice(index, index + 40))
      await suite.read(await suite.open(), 'urgent', suite.store())
      const effects = await suite.effectsReach(events)
      for (const slot of [0, 1, 2]) {
        const stored = effects.filter((row) => row.slot === slot).map((row) => row.event_id)
        assert.deepEqual(
          stored,
          events.filter((event) => event.slot === slot).map((event) => event.eventId),
        )
      }
    },
  ],
  [
    'hands over at most 500 records at a time',
    async (suite) => {
      const process = await suite.open()
      const events = many(1_300, (index) => ({ slot: index % 64 }))
      await process.log.append(events)
      const sizes: number[] = []
      await suite.read(
        process,
        'urgent',
        suite.store('a', (batch) => void sizes.push(batch.items.length)),
      )
      await suite.assertStored(events)
      assert.ok(Math.max(...sizes) <= 500, `batches of ${sizes}`)
    },
  ],
  [
    'takes appends of many callers at once and loses none',
    async (suite) => {
      const process = await suite.open()
      await suite.read(process, 'urgent', suite.store())
      const events = many(200, (index) => ({ slot: index % 64 }))
      await Promise.all(events.map((event) => process.log.append([event])))
      await suite.assertStored(events)
    },
  ],
  [
    'gives a batch again after the handler failed, in the same order',
    async (suite) => {
      const process = await suite.open()
      const events = many(5)
      await process.log.append(events)
      let failures = 0
      const failTwice = () => {
        failures += 1
        if (failures <= 2) throw new Error('the handler fails')
      }
      await suite.read(process, 'urgent', suite.store('a', failTwice))
      const effects = await suite.effectsReach(events)
      assert.deepEqual(
        effects.map((row) => row.event_id),
        events.map((event) => event.eventId),
      )
    },
  ],
  [
    'gives a batch again when the handler closed only some of it',
    async (suite) => {
      const process = await suite.open()
      const events = many(4)
      await process.log.append(events)
      let calls = 0
      const store = suite.store()
      await suite.read(process, 'urgent', async (batch) => {
        calls += 1
        if (calls > 1) return store(batch)
        await suite.rig.db.transaction((trx) => batch.close(trx, batch.items.slice(0, 1)))
      })
      await waitUntil('a second batch', () => calls > 1)
      const effects = await suite.effectsReach(events.slice(1))
      for (const event of events.slice(1)) assert.ok(effects.some((row) => row.event_id === event.eventId))
    },
  ],
  [
    'gives a batch again when the transaction that closed it was rolled back',
    async (suite) => {
      const process = await suite.open()
      const events = many(4)
      await process.log.append(events)
      let rolledBack = false
      const store = suite.store()
      await suite.read(process, 'urgent', async (batch) => {
        if (rolledBack) return store(batch)
        rolledBack = true
        await suite.rig.db.transaction(async (trx) => {
          await batch.close(trx, batch.items)
          throw new Error('the effect cannot be stored')
        })
      })
      await suite.assertStored(events)
    },
  ],
  [
    'lets a batch be closed in halves, each in a transaction of its own',
    async (suite) => {
      const process = await suite.open()
      const events = many(6)
      await process.log.append(events)
      const store = suite.store()
      await suite.read(process, 'urgent', async (batch) => {
        const middle = Math.ceil(batch.items.length / 2)
        await store({ ...batch, items: batch.items.slice(0, middle) })
        await store({ ...batch, items: batch.items.slice(middle) })
      })
      await suite.assertStored(events)
    },
  ],
  [
    'hands over what it does not believe, with the reason, and goes on behind it',
    async (suite) => {
      const process = await suite.open()
      const stranger = createRecordCodec({
        keys: foreignKeys(process.keys),
        issuer: ISSUER,
        clock,
        maxAgeMs: 1e12,
      })
      const own = createRecordCodec({ keys: process.keys, issuer: ISSUER, clock, maxAgeMs: 1e12 })
      const old = makeEvent({ acceptedAtMs: Math.floor(clock.now()) - 15 * 86_400_000 })
      const bad: [string, string][] = [
        ['malformed', 'not a record'],
        ['not_signed_by_hub', stranger.encode(makeEvent()).record],
        ['signed_for_another_lane', own.encode(makeEvent({ lane: 'routine' })).record],
        ['signed_for_another_slot', own.encode(makeEvent({ slot: 8 })).record],
        ['too_old', own.encode(old).record],
      ]
      for (const [, record] of bad) await suite.rig.putRaw('urgent', 7, record)
      const good = makeEvent()
      await process.log.append([good])
      const rejected: (string | undefined)[][] = []
      const note = (batch: LogBatch) => {
        for (const { rejected: found } of batch.items) {
          if (found) rejected.push([found.reason, found.record.toString()])
        }
      }
      await suite.read(await suite.open(), 'urgent', suite.store('a', note))
      await suite.assertStored([good])
      await waitUntil('five rejected records', () => rejected.length >= 5)
      assert.deepEqual(rejected.slice(0, 5).sort(), [...bad].sort())
    },
  ],
  [
    'believes a record whose key another process made a moment ago',
    async (suite) => {
      const reader = await suite.open()
      const writer = await suite.open()
      writer.keys.rotate()
      const event = makeEvent()
      await writer.log.append([event])
      await suite.read(reader, 'urgent', suite.store())
      await suite.assertStored([event])
    },
  ],
  [
    'keeps lanes apart: a handler that hangs in one holds up no other',
    async (suite) => {
      const process = await suite.open()
      let release = () => {}
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      let reached = false
      const hang = () => {
        reached = true
        return held
      }
      await suite.read(process, 'routine', suite.store('routine', hang))
      await process.log.append([makeEvent({ lane: 'routine' })])
      await waitUntil('the routine handler to hang', () => reached)
      await suite.read(process, 'control', suite.store('control'))
      await suite.read(process, 'urgent', suite.store('urgent'))
      await process.log.append([makeEvent({ lane: 'control' }), makeEvent({ lane: 'urgent' })])
      const effects = await suite.effectsReach(many(2))
      assert.deepEqual(effects.map((row) => row.reader).sort(), ['control', 'urgent'])
      release()
      await suite.effectsReach(many(3))
    },
  ],
  [
    'waits for a slow handler without giving its batch to it twice',
    async (suite) => {
      const process = await suite.open()
      const events = many(3)
      await process.log.append(events)
      const handed: string[] = []
      const slow = async (batch: LogBatch) => {
        handed.push(...batch.items.map((item) => item.event?.eventId ?? ''))
        if (handed.length <= 3) await new Promise((resolve) => setTimeout(resolve, 3 * SLOW_HANDLER_MS))
      }
      await suite.read(process, 'urgent', suite.store('a', slow))
      await suite.assertStored(events)
      const later = makeEvent()
      await process.log.append([later])
      await suite.assertStored([...events, later])
      assert.deepEqual(
        handed,
        [...events, later].map((event) => event.eventId),
      )
    },
  ],
  [
    'lets two processes share the slots, with one effect per event',
    async (suite) => {
      const [one, two] = [await suite.open(), await suite.open()]
      const half = Array.from({ length: 32 }, (_, slot) => slot)
      one.slots.set(half)
      two.slots.set(half.map((slot) => slot + 32))
      await suite.read(one, 'urgent', suite.store('one'))
      await suite.read(two, 'urgent', suite.store('two'))
      const events: SecurityEvent[] = []
      const readers = await waitUntil('both to read', async () => {
        const more = many(64, (index) => ({ slot: index }))
        events.push(...more)
        await one.log.append(more)
        const names = new Set((await suite.effects()).map((row) => row.reader))
        return names.size === 2 ? names : undefined
      })
      assert.equal(readers.size, 2)
      await suite.assertStored(events)
    },
  ],
  [
    'does not skip an event that becomes durable after newer ones',
    async (suite) => {
      const process = await suite.open()
      await suite.read(process, 'urgent', suite.store())
      const late = makeEvent()
      const begun = await suite.rig.beginAppend(late)
      const newer = many(3)
      await process.log.append(newer)
      await suite.assertStored(newer)
      await begun.finish()
      await suite.assertStored([late, ...newer])
    },
  ],
  [
    'tells how far readers are behind',
    async (suite) => {
      const process = await suite.open()
      await process.log.append(many(5, () => ({ lane: 'routine' })))
      await waitUntil('a lag of five', async () => {
        const lag = (await process.log.lag()).map(({ lane, records }) => `${lane} ${records}`)
        return lag.join() === 'control 0,urgent 0,routine 5'
      })
      await suite.read(process, 'routine', suite.store())
      await waitUntil('no lag', async () => {
        const lag = await process.log.lag()
        return lag.every(({ records, oldestAgeS }) => records === 0 && oldestAgeS === 0)
      })
    },
  ],
  [
    'is healthy while it stores and reads',
    async (suite) => {
      const process = await suite.open()
      const worker = await suite.read(process, 'urgent', suite.store())
      const event = makeEvent()
      await process.log.append([event])
      await suite.assertStored([event])
      assert.equal(process.log.health().ok, true)
      assert.deepEqual(worker.health(), { ok: true })
    },
  ],
  [
    'finishes the batch under way when its reader is stopped',
    async (suite) => {
      const process = await suite.open()
      let reached = false
      const slow = async () => {
        reached = true
        await new Promise((resolve) => setTimeout(resolve, SLOW_HANDLER_MS / 2))
      }
      const worker = await suite.read(process, 'urgent', suite.store('a', slow))
      const event = makeEvent()
      await process.log.append([event])
      await waitUntil('the handler to begin', () => reached)
      await worker.stop()
      assert.deepEqual(
        (await suite.effects()).map((row) => row.event_id),
        [event.eventId],
      )
    },
  ],
  [
    'goes on after a restart where it stopped',
    async (suite) => {
      const first = await suite.open()
      const before = many(10, (index) => ({ slot: index }))
      await first.log.append(before)
      const worker = await suite.read(first, 'urgent', suite.store('first'))
      await suite.assertStored(before)
      await worker.stop()
      const after = many(10, (index) => ({ slot: index }))
      await first.log.append(after)
      await first.log.close()
      const handed: string[] = []
      const note = (batch: LogBatch) =>
        void handed.push(...batch.items.map((item) => item.event?.eventId ?? ''))
      await suite.read(await suite.open(), 'urgent', suite.store('second', note))
      await suite.assertStored([...before, ...after])
      assert.deepEqual(handed.sort(), after.map((event) => event.eventId).sort())
    },
  ],
  [
    'refuses to append once it is closed',
    async (suite) => {
      const { log } = await suite.rig.open()
      await log.close()
      await assert.rejects(log.append([makeEvent()]), { code: 'ERR_LOG_UNAVAILABLE' })
    },
  ],
]

/** Another key under a key id that the hub has. */
function foreignKeys(keys: TestKeys): TestKeys {
  const { kid } = keys.logSigningKey()
  const foreign = foreignKeyPair()
  return { ...keys, logSigningKey: () => ({ kid, privateKey: foreign }) }
}
