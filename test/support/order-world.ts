import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { createParkedService } from '../../src/delivery/parked-service.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds, newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import type { SecurityEvent, Subject } from '../../src/secevent/event.js'
import { createSecurityEvent } from '../../src/secevent/security-event.js'
import { sqlRows } from '../../src/storage/database.js'
import { createStreamStatusService } from '../../src/streams/stream-status-service.js'
import { type LogParts, newTopicPrefix, type OpenedLog, type OrderHub, startOrderHub } from './order-hub.js'
import { createOrderLedger, type Outcome } from './order-ledger.js'
import { createDice, type Plan, type Step } from './order-plan.js'
import {
  addPollStream,
  addPushStream,
  addReceiver,
  type Mood,
  type OrderStream,
  TYPES,
} from './order-receivers.js'
import { createScriptedLeases, moveShards, type ScriptedLeases, takeAllShards } from './order-shards.js'
import { createTestDatabase } from './postgres.js'
import { waitUntil } from './wait.js'

export interface OrderWorldOptions {
  openLog(parts: LogParts): OpenedLog
  /** Keeps the broker from answering for so long. */
  stopBroker?(forMs: number): Promise<void>
}

/** Two hubs on one database and one log, three push and two poll streams of two receivers. */
export async function createOrderWorld(options: OrderWorldOptions) {
  const database = await createTestDatabase()
  const clock = createClock()
  const topicPrefix = newTopicPrefix()
  const shards = [createScriptedLeases(), createScriptedLeases()]
  const open = (parity: number) =>
    startOrderHub({
      ...options,
      databaseUrl: database.url,
      clock,
      topicPrefix,
      ownsSlot: (slot) => slot % 2 === parity,
      leases: () => shards[parity] as ScriptedLeases,
    })
  // One after the other: the first makes keys and topics.
  const hubs = [await open(0), await open(1)]
  const hubOf = (number: number) => hubs[number % 2] as OrderHub
  const mood: Mood = { ledger: createOrderLedger(), dice: Math.random, calm: true }
  const receivers = [await addReceiver(database.db), await addReceiver(database.db)] as [string, string]
  const streams: OrderStream[] = [
    await addPushStream(database.db, receivers[0], mood),
    await addPushStream(database.db, receivers[0], mood),
    await addPushStream(database.db, receivers[1], mood),
    await addPollStream(database.db, receivers[0], mood, hubs),
    await addPollStream(database.db, receivers[1], mood, hubs),
  ]
  await takeAllShards(database.db, shards[0] as ScriptedLeases)
  const statuses = hubs.map(({ db, delivery }) =>
    createStreamStatusService({
      db,
      observer: delivery,
      openWork: delivery,
      audit: createAuditLog(),
      settings: {},
      // Only what the hub itself decides about a stream is told by events; here receivers decide.
      events: {
        verification: () => Promise.reject(new Error('not asked for')),
        streamUpdated: () => Promise.reject(new Error('not asked for')),
        wake() {},
      },
    }),
  )
  const parked = hubs.map(({ db, delivery }) =>
    createParkedService({ db, audit: createAuditLog(), logger: silentLogger, onReplayed: delivery.wake }),
  )
  const nextId = createEventIds(clock)
  let plans = 0

  const subjectOf = (name: string, form: 'plain' | 'complex' | 'aliases'): Subject => {
    const user = { format: 'email', email: `${name}@example.com` }
    const other = { format: 'opaque', id: newId() }
    if (form === 'plain') return user
    if (form === 'complex') return { format: 'complex', user, device: other }
    return { format: 'aliases', identifiers: [other, user] }
  }

  function makeEvent(step: Extract<Step, { kind: 'event' }>): SecurityEvent {
    const name = `plan${plans}-subject${step.subject}`
    const event = createSecurityEvent({
      eventId: nextId(),
      acceptedAtMs: clock.now(),
      type: TYPES[step.effect],
      subject: subjectOf(name, step.form),
      claims: step.effect === 'loosens' ? { current_status: 'compliant' } : {},
      txn: newId(),
      sourceId: newId(),
      sourceIssuer: 'https://idp.example.com',
      sourceJti: newId(),
      ...(step.lane ? { lane: step.lane } : {}),
    })
    assert.equal(event.effect, step.effect)
    mood.ledger.expect(event, name)
    return event
  }

  async function append(event: SecurityEvent, step: Extract<Step, { kind: 'event' }>): Promise<void> {
    const hub = hubOf(step.hub)
    if (step.via === 'log') return hub.log.append([event])
    await hub.db.transaction((trx) => hub.transactional.appendIn(trx, [event]))
    hub.transactional.wake([event.lane])
  }

  async function replayParked(hub: number): Promise<void> {
    const service = parked[hub % 2] as (typeof parked)[number]
    for (const { id } of await service.list({ state: 'open', limit: 100 })) await service.replay(id, 'test')
  }

  async function setStatus(hub: number, stream: OrderStream, status: 'paused' | 'enabled'): Promise<void> {
    await statuses[hub % 2]?.setStatus(stream.receiverId, stream.id, { status })
  }

  async function takeOver(hub: number, half: boolean): Promise<void> {
    const [from, to] = [shards[hub % 2] as ScriptedLeases, shards[(hub + 1) % 2] as ScriptedLeases]
    await moveShards(database.db, { from, to, half, quiet: hubOf(hub).quiet })
  }

  /** Carries the steps out; what takes time goes on beside the next ones, in order among its own kind. */
  async function play(steps: readonly Step[]): Promise<void> {
    const appends: Promise<void>[] = []
    const later: { due: number; run(): Promise<void> }[] = []
    const lines = new Map<string, Promise<void>>()
    const inLine = (line: string, run: () => Promise<void>) => {
      lines.set(line, (lines.get(line) ?? Promise.resolve()).then(run))
    }
    const flush = (now: number) => {
      const due = later.filter((held) => held.due <= now)
      for (const held of due) {
        later.splice(later.indexOf(held), 1)
        appends.push(held.run())
      }
    }
    for (const [now, step] of steps.entries()) {
      if (step.gapMs > 0) await delay(step.gapMs)
      const stream = streams['stream' in step ? step.stream % streams.length : 0] as OrderStream
      if (step.kind === 'event') {
        const event = makeEvent(step)
        later.push({ due: now + step.holdSteps, run: () => append(event, step) })
        if (step.twice) {
          const again = { ...step, hub: step.hub + 1 }
          later.push({ due: now + step.holdSteps * 2, run: () => append(event, again) })
        }
      } else if (step.kind === 'rest') await delay(step.forMs)
      else if (step.kind === 'fail') stream.fail(step.forMs)
      else if (step.kind === 'reject') stream.reject(step.count)
      else if (step.kind === 'replay') inLine('replay', () => replayParked(step.hub))
      else if (step.kind === 'takeover') inLine('shards', () => takeOver(step.hub, step.half))
      else if (step.kind === 'broker') inLine('broker', async () => options.stopBroker?.(step.forMs))
      else {
        const status = step.kind === 'pause' ? 'paused' : 'enabled'
        inLine(`status ${stream.id}`, () => setStatus(step.hub, stream, status))
      }
      flush(now)
    }
    flush(Number.POSITIVE_INFINITY)
    await Promise.all([...appends, ...lines.values()])
  }

  /** Receivers take everything, what was parked comes again, and nothing is left open. */
  async function settle(): Promise<void> {
    mood.calm = true
    const { db } = database
    await waitUntil('every event is fanned out', async () => {
      const [row] = await sqlRows<{ count: number }>(db, 'select count(*)::int as count from events')
      return row?.count === expected
    })
    for (const stream of streams) await setStatus(0, stream, 'enabled')
    await waitUntil('nothing is open', async () => {
      await replayParked(0)
      const [row] = await sqlRows<{ count: number }>(
        db,
        `with due as (update delivery_queue set next_attempt_at = clock_timestamp() where next_attempt_at > now())
         select count(*)::int as count from delivery_queue`,
      )
      if (row?.count === 0) return true
      // An endpoint that rests after failures is tried at once when its stream's owner reads it again.
      for (const stream of streams) await hubOf(0).delivery.streamChanged(stream.id)
      await delay(50)
      return false
    })
  }

  let expected = 0

  return {
    /** Plays one plan with subjects of its own and answers what went wrong. */
    async run(plan: Plan): Promise<string[]> {
      plans += 1
      mood.ledger = createOrderLedger()
      mood.dice = createDice(plan.receiverSeed)
      mood.calm = false
      await play(plan.steps)
      expected += mood.ledger.size()
      await settle()
      for (const stream of streams) stream.check()
      const rows = await sqlRows<Outcome>(
        database.db,
        'select stream_id as stream, txn, outcome from deliveries',
      )
      return mood.ledger.faults(
        streams.map(({ id }) => id),
        rows,
      )
    },
    /** What the event logs of the hubs say about themselves. */
    logHealth: () => hubs.map(({ log }) => log.health()),
    async close() {
      for (const stream of streams) await stream.close()
      for (const hub of hubs) await hub.stop()
      await database.close()
    },
  }
}

export type OrderWorld = Awaited<ReturnType<typeof createOrderWorld>>
