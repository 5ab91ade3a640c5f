import assert from 'node:assert/strict'
import { CAEP } from '../../src/secevent/event-types.js'
import {
  createSecurityEvent,
  eventTimestampMs,
  type SecurityEventInput,
} from '../../src/secevent/security-event.js'
import { canonicalSubject, slotOf } from '../../src/secevent/subject.js'
import { keySource, p256, receive, token } from './set-fixtures.js'

const subject = { format: 'email', email: 'jane@example.com' }

function input(changes: Partial<SecurityEventInput> = {}): SecurityEventInput {
  return {
    eventId: '01990000-0000-7000-8000-000000000001',
    acceptedAtMs: 1_790_000_000_123.75,
    type: CAEP.sessionRevoked,
    subject,
    claims: { event_timestamp: 1 },
    txn: 'cause-1',
    sourceId: 'source-1',
    sourceIssuer: 'https://idp.example.com/',
    sourceJti: 'set-1',
    ...changes,
  }
}

describe('createSecurityEvent', () => {
  it('adds effect, lane, order key and slot, and drops the fraction of the time', () => {
    const event = createSecurityEvent(input())
    assert.equal(event.acceptedAtMs, 1_790_000_000_123)
    assert.equal(event.effect, 'tightens')
    assert.equal(event.lane, 'urgent')
    assert.equal(event.orderKey, canonicalSubject(subject))
    assert.equal(event.slot, slotOf(event.orderKey))
    assert.ok(!('quarantine' in event) && !('targetStreamId' in event))
  })

  it('keeps subject, stream and quarantine as given, and has none that was not given', () => {
    const given = { targetStreamId: 'stream-1', quarantine: 'odd' }
    const event = createSecurityEvent(input(given))
    assert.deepEqual(event.subject, subject)
    assert.deepEqual([event.targetStreamId, event.quarantine], ['stream-1', 'odd'])
    const { subject: _subject, ...withoutSubject } = input()
    assert.ok(!('subject' in createSecurityEvent(withoutSubject)))
  })

  it('takes the lane it is given, and leaves the effect', () => {
    for (const lane of ['control', 'routine'] as const) {
      const event = createSecurityEvent(input({ lane }))
      assert.deepEqual([event.lane, event.effect], [lane, 'tightens'])
    }
  })

  it('keeps a quarantined event out of its subject’s order', () => {
    const event = createSecurityEvent(input({ quarantine: 'invalid_payload' }))
    assert.deepEqual([event.effect, event.lane, event.quarantine], ['neutral', 'routine', 'invalid_payload'])
  })

  it('gives events without a subject an order of their own', () => {
    const { subject: _subject, ...rest } = input({ quarantine: 'missing_subject' })
    const keys = ['set-1', 'set-2'].map((sourceJti) => createSecurityEvent({ ...rest, sourceJti }).orderKey)
    assert.notEqual(keys[0], keys[1])
  })

  it('hashes content alone: not txn, time, jti or the order of members', () => {
    const hash = createSecurityEvent(input()).contentHash
    const same = input({ eventId: 'x', acceptedAtMs: 5, txn: 'other', sourceJti: 'set-2' })
    assert.equal(createSecurityEvent(same).contentHash, hash)
    assert.match(hash, /^[A-Za-z0-9_-]{43}$/)
    for (const changes of [
      { claims: {} },
      { type: CAEP.sessionPresented },
      { subject: { ...subject, email: 'x@y' } },
    ]) {
      assert.notEqual(createSecurityEvent(input(changes)).contentHash, hash)
    }
  })

  it('hashes a SET that was only signed again alike, and one with another claim not', async () => {
    const hashOf = async (claims: Record<string, unknown>) => {
      const text = token({ header: { alg: 'ES256' }, key: p256.privateKey, claims })
      const set = await receive(text, { keys: keySource(p256.publicKey) })
      return createSecurityEvent(input({ extraClaims: set.contentClaims })).contentHash
    }
    assert.equal(await hashOf({ iat: 1_700_000_000 }), await hashOf({ iat: 1_700_000_001, jti: 'set-2' }))
    assert.notEqual(await hashOf({}), await hashOf({ extra: 1 }))
  })
})

describe('eventTimestampMs', () => {
  it('is in milliseconds, and only what a database can hold', () => {
    assert.equal(eventTimestampMs({ event_timestamp: 1.5 }), 1500)
    assert.equal(eventTimestampMs({ event_timestamp: 0 }), 0)
    assert.equal(eventTimestampMs({ event_timestamp: 99_999_999_999 }), 99_999_999_999_000)
    for (const event_timestamp of [undefined, '1', -1, -0.5, 1e11, 1e300, null]) {
      assert.equal(eventTimestampMs({ event_timestamp }), undefined)
    }
  })
})
