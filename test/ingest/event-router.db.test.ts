import assert from 'node:assert/strict'
import { Unavailable } from '../../src/kernel/errors.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import { MAX_EPOCH_SECONDS } from '../../src/secevent/security-event.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type Body, type IngestRig, startIngestRig } from './ingest-rig.js'

describe('ingest: events that operators state', () => {
  let test: TestDatabase
  let rig: IngestRig

  before(async () => {
    test = await createTestDatabase()
    rig = await startIngestRig(test.db)
  })
  after(async () => {
    await rig.stop()
    await test.close()
  })
  beforeEach(() => {
    rig.permit(undefined)
    rig.log.events.length = 0
    rig.log.failWith = undefined
  })

  const event = (more: Body = {}): Body => ({
    type: CAEP.sessionRevoked,
    sub_id: { format: 'email', email: 'ada@example.com' },
    event: { reason_admin: { en: 'drill' } },
    ...more,
  })

  it('takes an event that an operator states, in the name of the hub', async () => {
    const answer = await rig.call(
      'POST',
      '/v1/events',
      event({ event_timestamp: 1_700_000_000, txn: 'case-7' }),
    )
    assert.equal(answer.status, 202, JSON.stringify(answer.body))
    const [stored] = rig.log.events
    assert.deepEqual(answer.body, { txn: 'case-7', event_id: stored?.eventId })
    assert.equal(stored?.sourceId, HUB_SOURCE_ID)
    assert.equal(stored?.sourceIssuer, 'https://hub.example')
    assert.equal(stored?.lane, 'urgent')
    assert.equal(stored?.claims.event_timestamp, 1_700_000_000)
    const [row] = await rig.auditOf(stored?.eventId)
    assert.equal(row?.action, 'event.emitted')
    assert.equal(row?.detail.txn, 'case-7')
    assert.doesNotMatch(JSON.stringify(row), /ada@/)
  })

  it('makes a txn when none is given', async () => {
    const answer = await rig.call('POST', '/v1/events', event())
    assert.match(String(answer.body.txn), /^[0-9a-f-]{36}$/)
  })

  const notListed = /type must be the URI of an event type that/
  const BAD_EVENTS: [title: string, change: Body, says: RegExp][] = [
    ['an unknown type', { type: 'https://idp.example/event' }, notListed],
    ['a framework type', { type: SSF.verification }, notListed],
    ['no type', { type: undefined }, /^type is required/],
    ['an empty type', { type: '' }, /^type /],
    ['a type of more than 512 characters', { type: 'a'.repeat(513) }, /^type .*512/],
    ['no subject', { sub_id: undefined }, /^sub_id is required/],
    ['a subject that is text', { sub_id: 'ada' }, /^sub_id must be a JSON object/],
    ['an odd subject', { sub_id: { format: 'email' } }, /email/],
    ['no event', { event: undefined }, /^event is required/],
    ['an event that is a list', { event: [] }, /^event must be a JSON object/],
    ['an event member that the type does not have', { event: { colour: 'red' } }, /colour/],
    ['a negative time', { event_timestamp: -1 }, /event_timestamp/],
    ['half a second', { event_timestamp: 1.5 }, /event_timestamp/],
    [
      'the first second that can only be milliseconds',
      { event_timestamp: MAX_EPOCH_SECONDS },
      /event_timestamp/,
    ],
    ['two different timestamps', { event: { event_timestamp: 1 }, event_timestamp: 2 }, /give it once/],
    ['an unknown member', { lane: 'control' }, /lane/],
    ['a txn with a space', { txn: 'a b' }, /^txn /],
    ['an empty txn', { txn: '' }, /^txn /],
    ['a txn of more than 200 characters', { txn: 'a'.repeat(201) }, /^txn .*200/],
  ]
  for (const [title, change, says] of BAD_EVENTS) {
    it(`refuses to emit ${title}`, async () => {
      const answer = await rig.call('POST', '/v1/events', event(change))
      assert.equal(answer.status, 400)
      assert.match(String(answer.body.code), /^ERR_INVALID_(REQUEST|SUBJECT)$/)
      assert.match(String(answer.body.message), says)
      assert.equal(rig.log.events.length, 0)
    })
  }

  it('takes the time from the event, from beside it, or from both when they agree', async () => {
    for (const change of [
      { event: { event_timestamp: 5 } },
      { event_timestamp: 5 },
      { event: { event_timestamp: 5 }, event_timestamp: 5 },
    ]) {
      const answer = await rig.call('POST', '/v1/events', event(change))
      assert.equal(answer.status, 202, JSON.stringify(answer.body))
      assert.equal(rig.log.events.at(-1)?.claims.event_timestamp, 5)
    }
  })

  it('takes times and names up to their limits', async () => {
    for (const change of [
      { event_timestamp: 0 },
      { event_timestamp: MAX_EPOCH_SECONDS - 1 },
      { txn: 'a'.repeat(200) },
    ]) {
      assert.equal((await rig.call('POST', '/v1/events', event(change))).status, 202, JSON.stringify(change))
    }
  })

  it('leaves no audit row of an event that the log did not take', async () => {
    rig.log.failWith = new Unavailable('The log is away.')
    const answer = await rig.call('POST', '/v1/events', event({ txn: 'lost-1' }))
    assert.equal(answer.status, 503)
    const rows = await test.db('audit_log').whereRaw("detail->>'txn' = 'lost-1'")
    assert.equal(rows.length, 0)
  })

  it('wakes the log when the event and its audit row are committed, and not for one that failed', async () => {
    rig.woken.length = 0
    assert.equal((await rig.call('POST', '/v1/events', event())).status, 202)
    const [wake] = rig.woken
    assert.deepEqual(wake?.lanes, ['urgent'])
    assert.equal((await wake?.auditRows)?.length, 1)
    rig.log.failWith = new Unavailable('The log is away.')
    assert.equal((await rig.call('POST', '/v1/events', event())).status, 503)
    assert.equal(rig.woken.length, 1)
  })

  it('asks for the permission to emit', async () => {
    rig.permit(['read'])
    assert.equal((await rig.call('POST', '/v1/events', event())).status, 403)
    assert.equal(rig.log.events.length, 0)
  })
})
