import assert from 'node:assert/strict'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { factOf } from '../../src/secevent/fact.js'
import { createSecurityEvent, type SecurityEventInput } from '../../src/secevent/security-event.js'

const jane = { format: 'email', email: 'jane@example.com' }
const joe = { format: 'iss_sub', iss: 'https://idp.example.com/', sub: 'joe' }

const event = (changes: Partial<SecurityEventInput> = {}) =>
  createSecurityEvent({
    eventId: '01990000-0000-7000-8000-000000000001',
    acceptedAtMs: 1_790_000_000_123,
    type: CAEP.sessionRevoked,
    subject: jane,
    claims: { event_timestamp: 7, initiating_entity: 'policy' },
    txn: 'cause-1',
    sourceId: 'source-1',
    sourceIssuer: 'https://idp.example.com/',
    sourceJti: 'set-1',
    ...changes,
  })
const textOf = (changes: Partial<SecurityEventInput> = {}) => factOf(event(changes))?.text

/** `factOf` compares what one hub said with what another made of it: SSF 1.0 §4.1.6. */
describe('what an event says, whoever says it', () => {
  const same: [what: string, changes: Partial<SecurityEventInput>][] = [
    [
      'another issuer, jti, time and id',
      {
        sourceId: 'source-2',
        sourceIssuer: 'https://hub.example.com',
        sourceJti: 'set-2',
        eventId: '01990000-0000-7000-8000-000000000002',
        acceptedAtMs: 5,
        lane: 'control',
      },
    ],
    ['members in another order', { claims: { initiating_entity: 'policy', event_timestamp: 7 } }],
    [
      'reasons, which a hub may add',
      {
        claims: {
          event_timestamp: 7,
          initiating_entity: 'policy',
          reason_admin: { en: 'x' },
          reason_user: { de: 'y' },
        },
      },
    ],
    [
      'a member that the type does not declare, for it is not passed on',
      { claims: { event_timestamp: 7, initiating_entity: 'policy', vendor: true } },
    ],
  ]
  for (const [what, changes] of same) {
    it(`is the same with ${what}`, () => assert.equal(textOf(changes), textOf()))
  }

  it('is the same for aliases in another order', () => {
    const aliases = (...identifiers: object[]) => ({ subject: { format: 'aliases', identifiers } })
    assert.equal(textOf(aliases(jane, joe)), textOf(aliases(joe, jane, joe)))
  })

  const others: [what: string, changes: Partial<SecurityEventInput>][] = [
    ['another cause', { txn: 'cause-2' }],
    ['another type', { type: CAEP.sessionPresented }],
    ['another subject', { subject: joe }],
    ['another value of a member', { claims: { event_timestamp: 8, initiating_entity: 'policy' } }],
    ['a member less', { claims: { event_timestamp: 7 } }],
  ]
  for (const [what, changes] of others) {
    it(`differs with ${what}`, () => assert.notEqual(textOf(changes), textOf()))
  }

  it('tells apart all members of a type whose list of members is open', () => {
    const type = 'https://example.com/events/badge'
    assert.notEqual(textOf({ type, claims: { door: 1 } }), textOf({ type, claims: { door: 2 } }))
  })

  it('is dated only when the members that are passed on hold a date', () => {
    assert.equal(factOf(event())?.dated, true)
    assert.equal(factOf(event({ claims: { event_timestamp: 0 } }))?.dated, true)
    assert.equal(factOf(event({ claims: { initiating_entity: 'policy' } }))?.dated, false)
    // This type declares no event_timestamp, so another hub's copy has none.
    assert.equal(factOf(event({ type: RISC.accountDisabled, claims: { event_timestamp: 7 } }))?.dated, false)
  })

  it('is nothing for an event that is never passed on', () => {
    const { subject: _subject, ...withoutSubject } = event()
    assert.equal(factOf(withoutSubject), undefined)
    assert.equal(factOf(event({ quarantine: 'invalid_payload' })), undefined)
    assert.equal(factOf(event({ targetStreamId: 'stream-1' })), undefined)
  })
})
