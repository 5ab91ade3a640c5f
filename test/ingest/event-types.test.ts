import assert from 'node:assert/strict'
import { createEventService } from '../../src/ingest/event-service.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import { InvalidRequest } from '../../src/kernel/errors.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import {
  BUILT_IN_EVENT_TYPES,
  createEventTypes,
  type EventTypes,
  SCIM,
} from '../../src/secevent/event-types.js'
import type { Database } from '../../src/storage/database.js'
import { listLog, manualClock, setOf, transmitterOf } from './ingest-fixture.js'

const TYPE = 'https://example.com/events/badge'
const CUSTOM = createEventTypes([
  {
    type: TYPE,
    effect: { member: 'state', values: { lost: 'tightens' }, otherwise: 'neutral' },
    schema: {
      type: 'object',
      properties: { state: { type: 'string' }, door: { type: 'string' } },
      required: ['state'],
    },
  },
])

describe('ingest: event types beside those of CAEP and RISC', () => {
  function start(first: EventTypes) {
    const clock = manualClock()
    const log = listLog()
    let types = first
    const eventTypes: EventTypes = { get: (type) => types.get(type), supported: () => types.supported() }
    const keys = createIssuerKeys({
      outgoing: { request: () => assert.fail('a request left') },
      clock,
      logger: silentLogger,
      metrics: createMetrics(),
    })
    const ingest = createSetIngest({ clock, keys, budgets: createSourceBudgets(clock), log, eventTypes })
    const emitter = createEventService({
      db: { transaction: (work: (trx: unknown) => unknown) => work({}) } as unknown as Database,
      audit: { record: async () => {} },
      log: { appendIn: (_trx, events) => log.append(events), wake() {} },
      nextEventId: createEventIds(clock),
      issuer: 'https://hub.example',
      eventTypes,
    })
    return {
      log,
      emitter,
      push: (events: object, more: object = {}) =>
        ingest(transmitterOf(), Buffer.from(setOf({ events, ...more }))),
      know(next: EventTypes) {
        types = next
      },
    }
  }

  it('takes a registered type by the class that it has now, and leaves what was stamped before alone', async () => {
    const rig = start(CUSTOM)
    const { event } = await rig.push({ [TYPE]: { state: 'lost', vendor: 1 } })
    assert.deepEqual([event.effect, event.lane, event.quarantine], ['tightens', 'urgent', undefined])
    assert.deepEqual(event.claims, { state: 'lost', vendor: 1 })
    rig.know(createEventTypes([{ type: TYPE, effect: 'loosens' }]))
    const later = (await rig.push({ [TYPE]: { state: 'lost' } })).event
    assert.deepEqual([later.effect, later.lane], ['loosens', 'routine'])
    assert.deepEqual([event.effect, event.lane], ['tightens', 'urgent'])
  })

  it('answers for an event that its schema refuses as for any odd one: taken, quarantined, neutral', async () => {
    const { event, verified } = await start(CUSTOM).push({ [TYPE]: { door: 7 } })
    assert.equal(event.quarantine, 'invalid_payload')
    assert.deepEqual([event.effect, event.lane], ['neutral', 'routine'])
    assert.ok(verified.problems.length > 0)
  })

  it('takes an event of a type that nobody knows, as unknown', async () => {
    const { event } = await start(BUILT_IN_EVENT_TYPES).push({ [TYPE]: { state: 'lost' } })
    assert.deepEqual([event.quarantine, event.effect], ['unknown_type', 'neutral'])
  })

  it('takes a SCIM event about a SCIM resource, its draft spelling made the registered one', async () => {
    const rig = start(BUILT_IN_EVENT_TYPES)
    const sub_id = { format: 'scim', uri: 'Agents/7', externalId: 'bot-7' }
    const { event } = await rig.push({ 'urn:ietf:params:SCIM:event:prov:deactivate': {} }, { sub_id })
    assert.deepEqual([event.type, event.effect, event.quarantine], [SCIM.deactivate, 'tightens', undefined])
    assert.deepEqual(event.subject, { format: 'scim', uri: '/Agents/7', externalId: 'bot-7' })
    const newer = (await rig.push({ [SCIM.activate]: {} }, { sub_id: { format: 'scim', uri: '/Agents/7' } }))
      .event
    assert.equal(newer.orderKey, event.orderKey)
  })

  it('lets an operator state an event of a registered type, and names what is wrong with it first', async () => {
    const { emitter, log } = start(CUSTOM)
    const subject = { format: 'email', email: 'a@example.com' }
    await emitter.emit({ type: TYPE, subject, claims: { state: 'lost' } }, 'operator:ann')
    assert.equal(log.events[0]?.effect, 'tightens')
    await assert.rejects(
      emitter.emit({ type: TYPE, subject, claims: { state: 1 } }, 'operator:ann'),
      (error) => {
        assert.ok(error instanceof InvalidRequest)
        assert.match(error.message, /state/)
        return true
      },
    )
  })
})
