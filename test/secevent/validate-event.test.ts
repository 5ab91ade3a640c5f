import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { CAEP, EVENT_TYPES, RISC, SCIM, SSF } from '../../src/secevent/event-types.js'
import { parseSubject } from '../../src/secevent/subject.js'
import {
  declaredMembers,
  readSchema,
  validateEmitted,
  validateReceived,
} from '../../src/secevent/validate-event.js'

const subject = { format: 'email', email: 'jane@example.com' }
const stream = { format: 'opaque', id: 's-1' }
const common = {
  event_timestamp: 1615304991,
  initiating_entity: 'policy',
  reason_admin: { en: 'Landspeed Policy Violation: C076E82F', 'es-410': 'Violación' },
  reason_user: { en: 'Access attempt from multiple regions.' },
}

/** Payloads as the specifications show them; of each type the fullest and the barest. */
const VALID: [string, Record<string, unknown>][] = [
  [CAEP.sessionRevoked, {}],
  [CAEP.sessionRevoked, common],
  [CAEP.tokenClaimsChange, { ...common, claims: { 'http://schemas.xmlsoap.org/claims/role': 'ro-admin' } }],
  [CAEP.credentialChange, { credential_type: 'fido2-roaming', change_type: 'create' }],
  [
    CAEP.credentialChange,
    {
      ...common,
      credential_type: 'agent-api-key',
      change_type: 'revoke',
      friendly_name: 'Jane’s key',
      x509_issuer: 'CN=CA',
      x509_serial: '01',
      fido2_aaguid: 'accced6a',
    },
  ],
  [
    CAEP.assuranceLevelChange,
    {
      ...common,
      namespace: 'NIST-AAL',
      current_level: 'nist-aal2',
      previous_level: 'nist-aal1',
      change_direction: 'increase',
    },
  ],
  [CAEP.assuranceLevelChange, { namespace: 'Retinal Scan', current_level: 'hi-res-scan' }],
  [CAEP.deviceComplianceChange, { ...common, previous_status: 'compliant', current_status: 'not-compliant' }],
  [CAEP.sessionEstablished, { ...common, fp_ua: 'abb0', acr: 'AAL2', amr: ['otp'], ext_id: '1' }],
  [CAEP.sessionPresented, { ...common, fp_ua: 'abb0', ext_id: '12345' }],
  [
    CAEP.riskLevelChange,
    {
      ...common,
      principal: 'USER',
      current_level: 'LOW',
      previous_level: 'HIGH',
      risk_reason: 'PASSWORD_FOUND_IN_DATA_BREACH',
    },
  ],
  [CAEP.riskLevelChange, { principal: 'AGENT', current_level: 'HIGH' }],
  [RISC.accountDisabled, { reason: 'hijacking' }],
  [RISC.identifierChanged, { 'new-value': 'john.roe@example.com' }],
  [RISC.credentialCompromise, { credential_type: 'password' }],
  [
    RISC.credentialCompromise,
    {
      credential_type: 'password',
      event_timestamp: 1.5,
      reason_admin: { en: 'x' },
      reason_user: { en: 'x' },
    },
  ],
  ...Object.values(RISC)
    .filter((type) => type !== RISC.credentialCompromise)
    .map((type): [string, Record<string, unknown>] => [type, {}]),
  [SSF.verification, {}],
  [SSF.verification, { state: 'VGhpcyBpcyBhbiBleGFtcGxl' }],
  [SSF.streamUpdated, { status: 'paused', reason: 'License is not valid' }],
]

const INVALID: [string, unknown, RegExp][] = [
  [CAEP.sessionRevoked, { event_timestamp: '1615304991' }, /event_timestamp/],
  [CAEP.sessionRevoked, { event_timestamp: 1615304991000 }, /event_timestamp/],
  [CAEP.sessionRevoked, { initiating_entity: 'robot' }, /admin, user, policy, system/],
  [CAEP.sessionRevoked, { reason_admin: {} }, /reason_admin/],
  [CAEP.sessionRevoked, { reason_admin: 'text' }, /reason_admin/],
  [CAEP.sessionRevoked, { reason_user: { en: 1 } }, /reason_user/],
  [CAEP.tokenClaimsChange, {}, /claims/],
  [CAEP.tokenClaimsChange, { claims: {} }, /claims/],
  [CAEP.credentialChange, { credential_type: 'password' }, /change_type/],
  [
    CAEP.credentialChange,
    { credential_type: 'password', change_type: 'rotate' },
    /create, revoke, update, delete/,
  ],
  [CAEP.credentialChange, { credential_type: '', change_type: 'create' }, /credential_type/],
  [CAEP.assuranceLevelChange, { current_level: 'x' }, /namespace/],
  [
    CAEP.assuranceLevelChange,
    { namespace: 'x', current_level: 'x', change_direction: 'up' },
    /increase, decrease/,
  ],
  [CAEP.deviceComplianceChange, { current_status: 'compliant' }, /previous_status/],
  [CAEP.deviceComplianceChange, { current_status: 'compliant', previous_status: 'unknown' }, /not-compliant/],
  [CAEP.sessionEstablished, { amr: 'otp' }, /amr/],
  [CAEP.riskLevelChange, { current_level: 'LOW' }, /principal/],
  [CAEP.riskLevelChange, { principal: 'USER', current_level: 'low' }, /LOW, MEDIUM, HIGH/],
  [RISC.accountDisabled, { reason: 'because' }, /hijacking, bulk-account/],
  [RISC.credentialCompromise, {}, /credential_type/],
  [SSF.streamUpdated, {}, /status/],
  [SSF.streamUpdated, { status: 'deleted' }, /enabled, paused, disabled/],
  [SSF.verification, { state: '' }, /state/],
  [CAEP.sessionRevoked, null, /object/],
  [CAEP.sessionRevoked, [], /object/],
]

const subjectOf = (type: string) => (type.startsWith(SSF.verification.slice(0, 46)) ? stream : subject)
const short = (type: string) => type.slice(type.lastIndexOf('/') + 1)

describe('event payloads', () => {
  for (const [type, claims] of VALID) {
    it(`may be, as ${short(type)}: ${JSON.stringify(Object.keys(claims))}`, () => {
      assert.deepEqual(validateEmitted(type, { claims, subject: subjectOf(type) }), [])
      assert.deepEqual(validateReceived(type, claims), [])
    })
  }

  for (const [type, claims, problem] of INVALID) {
    it(`may not be, as ${short(type)}: ${JSON.stringify(claims)}`, () => {
      assert.match(validateEmitted(type, { claims, subject: subjectOf(type) }).join(' '), problem)
      assert.match(validateReceived(type, claims).join(' '), problem)
    })
  }

  it('have all their faults named, up to 20', () => {
    const faults = (amr: unknown[]) =>
      validateReceived(CAEP.sessionEstablished, { event_timestamp: 'x', initiating_entity: 'robot', amr })
    assert.equal(faults([]).length, 2)
    assert.equal(faults([1, 2, 3]).length, 5)
    assert.equal(faults(Array.from({ length: 18 }, () => 1)).length, 20)
    assert.equal(faults(Array.from({ length: 19 }, () => 1)).length, 20)
  })

  it('have each fault named once', () => {
    const emitted = (type: string, claims: object) => validateEmitted(type, { claims, subject })
    assert.deepEqual(emitted(CAEP.sessionRevoked, { event_timestamp: 'x' }), [
      '/event_timestamp must be number.',
    ])
    assert.deepEqual(emitted(RISC.accountDisabled, { event_timestamp: 'x', reason: 'hijacking' }), [
      '/event_timestamp must be in seconds since 1970.',
    ])
  })

  it('may have a member nobody declared when received, not when emitted, for every type', () => {
    for (const [type, claims] of VALID) {
      const more = { ...claims, vendor: true }
      assert.deepEqual(validateReceived(type, more), [])
      assert.match(validateEmitted(type, { claims: more, subject: subjectOf(type) }).join(' '), /"vendor"/)
    }
  })

  it('may always be dated by whoever emits them, in seconds', () => {
    const dated = (event_timestamp: unknown, type: string = RISC.accountDisabled) =>
      validateEmitted(type, { claims: { event_timestamp }, subject }).join()
    for (const seconds of [0, 0.5, 1615304991, 99_999_999_999]) assert.equal(dated(seconds), '')
    for (const seconds of [-1, 100_000_000_000, 1e12, '1615304991', null, [1], true]) {
      assert.match(dated(seconds), /seconds/)
    }
    assert.equal(dated(1615304991, SCIM.feedAdd), '')
    assert.match(dated(-1, SCIM.feedAdd), /seconds/)
  })

  it('have the members that the type declares', () => {
    assert.deepEqual(declaredMembers(SSF.streamUpdated), new Set(['status', 'reason']))
    assert.deepEqual(declaredMembers(SSF.verification), new Set(['state']))
    assert.ok(declaredMembers(CAEP.sessionRevoked)?.has('event_timestamp'))
    assert.deepEqual(declaredMembers(RISC.accountPurged), new Set())
    assert.equal(declaredMembers(SCIM.putFull), undefined)
  })

  it('have a subject of the format that their specification demands', () => {
    for (const type of [RISC.identifierChanged, RISC.identifierRecycled]) {
      assert.match(validateEmitted(type, { claims: {}, subject: stream }).join(), /email or phone_number/)
      assert.deepEqual(
        validateEmitted(type, {
          claims: {},
          subject: parseSubject({ format: 'phone', phone_number: '+12065550100' }),
        }),
        [],
      )
    }
    assert.match(validateEmitted(SSF.verification, { claims: {}, subject }).join(), /opaque/)
  })

  it('of unknown type are not judged when received and not emitted', () => {
    assert.deepEqual(validateReceived('urn:x', { any: 'thing' }), [])
    assert.match(validateEmitted('urn:x', { claims: {}, subject }).join(), /urn:x/)
    assert.equal(declaredMembers('urn:x'), undefined)
  })
})

describe('schemas/', () => {
  it('holds one schema for every event type and no other', () => {
    for (const family of ['caep', 'risc', 'ssf']) {
      const { $defs } = readSchema(`${family}-events`) as { $defs: Record<string, object> }
      const names = [...EVENT_TYPES.values()]
        .filter((info) => info.family === family.toUpperCase())
        .map((info) => info.name)
      const shared = ['event_timestamp_seconds', 'localized_reason']
      assert.deepEqual(new Set(Object.keys($defs).filter((name) => !shared.includes(name))), new Set(names))
    }
  })

  it('holds one schema for every SCIM type, and two that they share', () => {
    const { $defs } = readSchema('scim-events') as { $defs: Record<string, object> }
    const names = [...EVENT_TYPES.values()]
      .filter((info) => info.family === 'SCIM')
      .map((info) => info.name.replaceAll(':', '-'))
    assert.deepEqual(new Set(Object.keys($defs)), new Set(['full', 'notice', ...names]))
  })

  it('compiles as draft 2020-12 in strict mode, each under its own urn', () => {
    const ajv = new Ajv2020({ strict: true })
    const files = readdirSync(new URL('../../../schemas/', import.meta.url)).filter((name) =>
      name.endsWith('.json'),
    )
    const schemas = files.map((file) => readSchema(file.slice(0, -5)) as { $id: string; $schema: string })
    ajv.addSchema(schemas)
    for (const [index, { $id, $schema }] of schemas.entries()) {
      assert.equal($schema, 'https://json-schema.org/draft/2020-12/schema')
      assert.equal($id, `urn:firebreak:schema:${files[index]?.slice(0, -5)}`)
      assert.ok(ajv.getSchema($id))
    }
  })
})
