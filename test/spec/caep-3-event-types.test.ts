import assert from 'node:assert/strict'
import { CAEP } from '../../src/secevent/event-types.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { validateEmitted } from '../../src/secevent/validate-event.js'
import { describeTypes, type TypeRow } from './event-type-rows.js'

const LEVELS = ['LOW', 'MEDIUM', 'HIGH']
const STATUSES = ['compliant', 'not-compliant']
const COMMON = {
  event_timestamp: 1615304991.5,
  initiating_entity: 'policy',
  reason_admin: { en: 'Policy violation', 'es-410': 'Violación' },
  reason_user: { en: 'Access from several regions' },
}

const ROWS: TypeRow[] = [
  { section: '§3.1', type: CAEP.sessionRevoked },
  {
    section: '§3.2',
    type: CAEP.tokenClaimsChange,
    required: { claims: { 'https://example.com/role': 'ro' } },
  },
  {
    section: '§3.3',
    type: CAEP.credentialChange,
    required: { credential_type: 'fido2-roaming', change_type: 'create' },
    optional: { friendly_name: 'key', x509_issuer: 'CN=CA', x509_serial: '01', fido2_aaguid: 'accced6a' },
    closed: { change_type: ['create', 'revoke', 'update', 'delete'] },
    open: { credential_type: 'agent-api-key' },
  },
  {
    section: '§3.4',
    type: CAEP.assuranceLevelChange,
    required: { namespace: 'NIST-AAL', current_level: 'nist-aal2' },
    optional: { previous_level: 'nist-aal1', change_direction: 'increase' },
    closed: { change_direction: ['increase', 'decrease'] },
    open: { namespace: 'Retinal Scan', current_level: 'hi-res-scan' },
  },
  {
    section: '§3.5',
    type: CAEP.deviceComplianceChange,
    required: { previous_status: 'compliant', current_status: 'not-compliant' },
    closed: { previous_status: STATUSES, current_status: STATUSES },
  },
  {
    section: '§3.6',
    type: CAEP.sessionEstablished,
    optional: { fp_ua: 'abb0', acr: 'AAL2', amr: ['otp'], ext_id: '12345' },
  },
  { section: '§3.7', type: CAEP.sessionPresented, optional: { fp_ua: 'abb0', ext_id: '12345' } },
  {
    section: '§3.8',
    type: CAEP.riskLevelChange,
    required: { principal: 'USER', current_level: 'LOW' },
    optional: { previous_level: 'HIGH', risk_reason: 'PASSWORD_FOUND_IN_DATA_BREACH' },
    closed: { current_level: LEVELS, previous_level: LEVELS },
    open: { principal: 'AGENT' },
  },
]

describeTypes('CAEP 1.0 §3: event types', COMMON, ROWS)

describe('CAEP 1.0 §2: optional claims of every event type', () => {
  const subject = parseSubject({ format: 'email', email: 'jane@example.com' })
  const problems = (type: string, claims: object) =>
    validateEmitted(type, {
      claims: { ...ROWS.find((row) => row.type === type)?.required, ...claims },
      subject,
    })

  it('has a row for each of the eight types', () => {
    assert.deepEqual(ROWS.map(({ type }) => type).sort(), Object.values(CAEP).sort())
  })

  for (const { type } of ROWS) {
    it(`holds of ${type.slice(type.lastIndexOf('/') + 1)}`, () => {
      for (const entity of ['admin', 'user', 'policy', 'system']) {
        assert.deepEqual(problems(type, { initiating_entity: entity }), [])
      }
      assert.notDeepEqual(problems(type, { initiating_entity: 'robot' }), [])
      for (const reason of ['text', {}, { en: 7 }, { '': 'text' }, ['text']]) {
        assert.notDeepEqual(problems(type, { reason_admin: reason }), [])
        assert.notDeepEqual(problems(type, { reason_user: reason }), [])
      }
      // Milliseconds, as a draft's example had them.
      assert.notDeepEqual(problems(type, { event_timestamp: 1615304991643 }), [])
      assert.notDeepEqual(problems(type, { event_timestamp: -1 }), [])
    })
  }
})
