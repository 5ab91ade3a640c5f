import assert from 'node:assert/strict'
import { RISC } from '../../src/secevent/event-types.js'
import { mintClaims } from '../../src/secevent/mint.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { subjectProblems, validateEmitted } from '../../src/secevent/validate-event.js'
import { describeTypes, type TypeRow } from './event-type-rows.js'

const ROWS: TypeRow[] = [
  { section: '§2.1', type: RISC.accountCredentialChangeRequired },
  { section: '§2.2', type: RISC.accountPurged },
  {
    section: '§2.3',
    type: RISC.accountDisabled,
    optional: { reason: 'hijacking' },
    closed: { reason: ['hijacking', 'bulk-account'] },
  },
  { section: '§2.4', type: RISC.accountEnabled },
  { section: '§2.5', type: RISC.identifierChanged, optional: { 'new-value': 'john.roe@example.com' } },
  { section: '§2.6', type: RISC.identifierRecycled },
  {
    section: '§2.7',
    type: RISC.credentialCompromise,
    required: { credential_type: 'password' },
    optional: { event_timestamp: 1615304991, reason_admin: { en: 'dump' }, reason_user: { en: 'change it' } },
    open: { credential_type: 'agent-api-key' },
  },
  { section: '§2.8', type: RISC.optIn },
  { section: '§2.8', type: RISC.optOutInitiated },
  { section: '§2.8', type: RISC.optOutCancelled },
  { section: '§2.8', type: RISC.optOutEffective },
  { section: '§2.9', type: RISC.recoveryActivated },
  { section: '§2.10', type: RISC.recoveryInformationChanged },
  { section: '§2.11', type: RISC.sessionsRevoked },
]

describeTypes('RISC 1.0 §2: event types', {}, ROWS)

describe('RISC 1.0 §2: what goes beyond the members', () => {
  const subject = parseSubject({ format: 'email', email: 'jane@example.com' })

  it('has a row for each of the fourteen types', () => {
    assert.deepEqual(ROWS.map(({ type }) => type).sort(), Object.values(RISC).sort())
  })

  it('§2.5, §2.6: the subject is an email address or a phone number', () => {
    for (const type of [RISC.identifierChanged, RISC.identifierRecycled]) {
      assert.deepEqual(subjectProblems(type, subject), [])
      assert.deepEqual(subjectProblems(type, { format: 'phone_number', phone_number: '+12065550100' }), [])
      assert.match(subjectProblems(type, { format: 'opaque', id: '1' }).join(), /email or phone_number/)
    }
  })

  it('§2.5: the new value has a hyphen in its name', () => {
    const claims = { new_value: 'john.roe@example.com' }
    assert.notDeepEqual(validateEmitted(RISC.identifierChanged, { claims, subject }), [])
  })

  it('an event may be dated to the hub; only the type that declares the date is sent with it', () => {
    for (const { type, required = {} } of ROWS) {
      const claims = { ...required, event_timestamp: 1615304991 }
      assert.deepEqual(validateEmitted(type, { claims, subject }), [])
      const event = { type, subject, claims, txn: 't', acceptedAtMs: 1_700_000_000_000 }
      const { events } = mintClaims({ event, issuer: 'https://hub', audience: 'gw', jti: 'j' }) as {
        events: Record<string, object>
      }
      assert.equal('event_timestamp' in (events[type] ?? {}), type === RISC.credentialCompromise, type)
    }
  })
})
