import assert from 'node:assert/strict'
import { CAEP, classifyEvent, SSF } from '../../src/secevent/event-types.js'
import { NOW_S, receive, token } from '../secevent/set-fixtures.js'

const REASON = { reason_admin: { en: 'Policy' }, event_timestamp: NOW_S }
const email = { format: 'email', email: 'jane@example.com' }

async function read(type: string, payload: object, sub_id: object = email) {
  const set = await receive(token({ claims: { sub_id, events: { [type]: payload } } }))
  assert.equal(set.quarantine, undefined, set.problems.join(' '))
  return { ...set, ...classifyEvent(set.type, set.claims) }
}

describe('CAEP Interoperability Profile 1.0 §2.5 and §3: events that arrive', () => {
  it('name their subject by email, iss_sub or several members; opaque in a verification (R-53)', async () => {
    const issSub = { format: 'iss_sub', iss: 'https://idp.example.com/', sub: 'jane' }
    const device = { format: 'opaque', id: 'd-1' }
    for (const subject of [email, issSub, { format: 'complex', user: issSub, device }]) {
      for (const [type, payload] of [
        [CAEP.sessionRevoked, REASON],
        [CAEP.deviceComplianceChange, { previous_status: 'compliant', current_status: 'not-compliant' }],
      ] as const) {
        assert.deepEqual((await read(type, payload, subject)).subject, subject)
      }
    }
    await read(SSF.verification, { state: 'x' }, device)
  })

  it('are understood with every change_type and credential_type (R-54)', async () => {
    const effects = { create: 'neutral', revoke: 'tightens', update: 'tightens', delete: 'tightens' }
    const types = ['password', 'pin', 'x509', 'fido2-platform', 'fido2-roaming', 'fido-u2f']
    const more = ['verifiable-credential', 'phone-voice', 'phone-sms', 'app']
    for (const [change_type, effect] of Object.entries(effects)) {
      for (const credential_type of [...types, ...more]) {
        const event = await read(CAEP.credentialChange, { ...REASON, change_type, credential_type })
        assert.equal(event.effect, effect)
        assert.deepEqual(event.claims, { ...REASON, change_type, credential_type })
      }
    }
  })

  it('are understood with every status of a device (R-54)', async () => {
    for (const previous_status of ['compliant', 'not-compliant']) {
      for (const [current_status, effect] of [
        ['compliant', 'loosens'],
        ['not-compliant', 'tightens'],
      ]) {
        const event = await read(CAEP.deviceComplianceChange, { previous_status, current_status })
        assert.equal(event.effect, effect)
      }
    }
  })

  it('may leave the previous level unsaid, which is then unknown and not made up (R-55)', async () => {
    const assurance = { namespace: 'NIST-AAL', current_level: 'nist-aal2' }
    const risk = { principal: 'USER', current_level: 'HIGH' }
    for (const [type, payload] of [
      [CAEP.assuranceLevelChange, assurance],
      [CAEP.riskLevelChange, risk],
    ] as const) {
      const event = await read(type, payload)
      assert.equal(event.effect, 'tightens', 'a change whose direction is not said may be a fall')
      assert.deepEqual(event.claims, payload)
    }
  })

  it('keep their event_timestamp, by which a receiver can order what it was sent (R-56)', async () => {
    assert.equal((await read(CAEP.sessionRevoked, REASON)).claims.event_timestamp, NOW_S)
  })
})
