import assert from 'node:assert/strict'
import type { AccessEffect, Lane } from '../../src/secevent/event.js'
import {
  CAEP,
  classifyEvent,
  EVENT_TYPES,
  EVENTS_SUPPORTED,
  finalSpelling,
  isOpenIdType,
  isReservedType,
  lanesOf,
  RISC,
  SCIM,
  SSF,
} from '../../src/secevent/event-types.js'

type Row = [type: string, claims: Record<string, unknown>, effect: AccessEffect, lane: Lane]

const ROWS: Row[] = [
  [CAEP.sessionRevoked, {}, 'tightens', 'urgent'],
  [CAEP.tokenClaimsChange, { claims: { role: 'x' } }, 'tightens', 'urgent'],
  [CAEP.credentialChange, { change_type: 'revoke' }, 'tightens', 'urgent'],
  [CAEP.credentialChange, { change_type: 'delete' }, 'tightens', 'urgent'],
  [CAEP.credentialChange, { change_type: 'update' }, 'tightens', 'urgent'],
  [CAEP.credentialChange, { change_type: 'create' }, 'neutral', 'routine'],
  [CAEP.credentialChange, {}, 'neutral', 'routine'],
  [CAEP.assuranceLevelChange, { change_direction: 'decrease' }, 'tightens', 'urgent'],
  [CAEP.assuranceLevelChange, { change_direction: 'increase' }, 'loosens', 'routine'],
  [CAEP.assuranceLevelChange, { current_level: 'nist-aal1' }, 'tightens', 'urgent'],
  [CAEP.deviceComplianceChange, { current_status: 'not-compliant' }, 'tightens', 'urgent'],
  [CAEP.deviceComplianceChange, { current_status: 'compliant' }, 'loosens', 'routine'],
  [CAEP.deviceComplianceChange, {}, 'neutral', 'routine'],
  [CAEP.sessionEstablished, {}, 'neutral', 'routine'],
  [CAEP.sessionPresented, {}, 'neutral', 'routine'],
  [CAEP.riskLevelChange, { current_level: 'HIGH' }, 'tightens', 'urgent'],
  [CAEP.riskLevelChange, { current_level: 'MEDIUM', previous_level: 'HIGH' }, 'tightens', 'urgent'],
  [CAEP.riskLevelChange, { current_level: 'LOW' }, 'loosens', 'routine'],
  [RISC.accountCredentialChangeRequired, {}, 'tightens', 'urgent'],
  [RISC.accountPurged, {}, 'tightens', 'urgent'],
  [RISC.accountDisabled, { reason: 'hijacking' }, 'tightens', 'urgent'],
  [RISC.accountEnabled, {}, 'loosens', 'routine'],
  [RISC.identifierChanged, {}, 'neutral', 'routine'],
  [RISC.identifierRecycled, {}, 'tightens', 'urgent'],
  [RISC.credentialCompromise, { credential_type: 'password' }, 'tightens', 'urgent'],
  [RISC.optIn, {}, 'neutral', 'routine'],
  [RISC.optOutInitiated, {}, 'neutral', 'routine'],
  [RISC.optOutCancelled, {}, 'neutral', 'routine'],
  [RISC.optOutEffective, {}, 'neutral', 'routine'],
  [RISC.recoveryActivated, {}, 'neutral', 'routine'],
  [RISC.recoveryInformationChanged, {}, 'neutral', 'routine'],
  [RISC.sessionsRevoked, {}, 'tightens', 'urgent'],
  [SCIM.deactivate, {}, 'tightens', 'urgent'],
  [SCIM.delete, {}, 'tightens', 'urgent'],
  [SCIM.activate, {}, 'loosens', 'routine'],
  [SCIM.createFull, {}, 'loosens', 'routine'],
  [SCIM.createNotice, {}, 'loosens', 'routine'],
  [SCIM.patchFull, {}, 'neutral', 'routine'],
  [SCIM.patchNotice, { attributes: ['active'] }, 'tightens', 'urgent'],
  [SCIM.putFull, { data: { active: true } }, 'loosens', 'routine'],
  [SCIM.putNotice, {}, 'neutral', 'routine'],
  [SCIM.feedAdd, {}, 'neutral', 'routine'],
  [SCIM.feedRemove, {}, 'neutral', 'routine'],
  [SCIM.asyncResponse, {}, 'neutral', 'routine'],
  [SSF.verification, { state: 'x' }, 'neutral', 'urgent'],
  [SSF.streamUpdated, { status: 'paused' }, 'neutral', 'urgent'],
]

describe('classifyEvent', () => {
  for (const [type, claims, effect, lane] of ROWS) {
    it(`says that ${type.slice(type.lastIndexOf('/') + 1)} ${JSON.stringify(claims)} ${effect}, ${lane}`, () => {
      assert.deepEqual(classifyEvent(type, claims), { effect, lane })
    })
  }

  it('has a row for every type in the table', () => {
    assert.deepEqual(new Set(ROWS.map(([type]) => type)), new Set(EVENT_TYPES.keys()))
  })

  it('takes an unknown type for neutral and routine', () => {
    assert.deepEqual(classifyEvent('https://example.com/x', {}), { effect: 'neutral', lane: 'routine' })
  })

  it('is not fooled by values that are no own member of its table', () => {
    for (const value of ['constructor', '__proto__', 7, null, ['LOW']]) {
      assert.equal(classifyEvent(CAEP.riskLevelChange, { current_level: value }).effect, 'neutral')
    }
  })

  it('never gives the control lane, nor routine to what tightens, nor urgent to what loosens', () => {
    for (const [type, claims] of ROWS) {
      const { effect, lane } = classifyEvent(type, claims)
      assert.notEqual(lane, 'control')
      if (effect === 'tightens') assert.equal(lane, 'urgent')
      if (effect === 'loosens') assert.equal(lane, 'routine')
    }
  })
})

describe('EVENTS_SUPPORTED', () => {
  it('holds the 8 types of CAEP 1.0, the 14 of RISC 1.0 and the 12 of SCIM, without the framework types', () => {
    assert.equal(Object.keys(CAEP).length, 8)
    assert.equal(Object.keys(RISC).length, 14)
    assert.equal(Object.keys(SCIM).length, 12)
    const all = [CAEP, RISC, SCIM].flatMap((family) => Object.values(family))
    assert.deepEqual(new Set(EVENTS_SUPPORTED), new Set(all))
  })
})

describe('EVENT_TYPES', () => {
  it('says for every type its family, its name and why it is classed so', () => {
    for (const info of EVENT_TYPES.values()) {
      const family = info.family.toLowerCase()
      const openId = `https://schemas.openid.net/secevent/${family}/event-type/`
      assert.equal(info.type, (family === 'scim' ? 'urn:ietf:params:scim:event:' : openId) + info.name)
      assert.ok(info.why.length > 5)
    }
  })
  it('has every lane of its events among those that it may take', () => {
    for (const [type, claims] of ROWS) {
      const info = EVENT_TYPES.get(type)
      assert.ok(info && lanesOf(info).includes(classifyEvent(type, claims).lane), type)
    }
    const lanes = (type: string) => lanesOf(EVENT_TYPES.get(type) as Parameters<typeof lanesOf>[0])
    assert.deepEqual(lanes(SSF.verification), ['urgent'])
    assert.deepEqual(lanes(SCIM.putFull), ['urgent', 'routine'])
    assert.deepEqual(lanes(CAEP.riskLevelChange), ['urgent', 'routine'])
    assert.deepEqual(lanes(CAEP.sessionRevoked), ['urgent'])
  })
})

describe('names of event types', () => {
  it('are reserved where OpenID and the IETF give them, and nowhere else', () => {
    for (const type of [
      'https://schemas.openid.net',
      'https://schemas.openid.net/secevent/caep/event-type/new',
      'HTTP://Schemas.OpenID.net/x',
      'https://schemas.openid.net:443/x',
      'https://schemas.openid.net?x',
      'https://schemas.openid.net#x',
      'urn:ietf:params:scim:event:new',
      'URN:IETF:x',
    ]) {
      assert.ok(isReservedType(type), type)
    }
    for (const type of [
      'https://schemas.openid.net.example.com/x',
      'https://schemas.openid.network',
      'https://example.com/https://schemas.openid.net/x',
      'ftp://schemas.openid.net/x',
      'https://schemas-openid.net/x',
      'urn:ietfx:y',
      'urn:example:urn:ietf:x',
    ]) {
      assert.ok(!isReservedType(type), type)
    }
  })

  it('are spelled as registered whatever the case of a SCIM type, and of no other', () => {
    assert.equal(finalSpelling('urn:ietf:params:SCIM:event:misc:asyncResp'), SCIM.asyncResponse)
    for (const type of [
      CAEP.sessionRevoked.toUpperCase(),
      CAEP.sessionRevoked.replace('https', 'HTTPS'),
      'urn:ietf:params:SCIM:event:prov:New',
    ]) {
      assert.equal(finalSpelling(type), type)
    }
  })

  it('tell that members beside the declared ones are not sent on: CAEP, RISC and SSF', () => {
    for (const { type, family } of EVENT_TYPES.values()) assert.equal(isOpenIdType(type), family !== 'SCIM')
    assert.ok(!isOpenIdType('https://example.com/x'))
  })
})
