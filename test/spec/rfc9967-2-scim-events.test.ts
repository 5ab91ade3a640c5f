import assert from 'node:assert/strict'
import type { AccessEffect } from '../../src/secevent/event.js'
import { classifyEvent, EVENTS_SUPPORTED, finalSpelling, SCIM } from '../../src/secevent/event-types.js'
import { mintClaims } from '../../src/secevent/mint.js'
import { createSecurityEvent } from '../../src/secevent/security-event.js'
import { canonicalSubject, InvalidSubject, orderKeyOf, parseSubject } from '../../src/secevent/subject.js'
import { validateEmitted, validateReceived } from '../../src/secevent/validate-event.js'

const PREFIX = 'urn:ietf:params:scim:event:'
const subject = parseSubject({
  format: 'scim',
  uri: '/Members/44f6142df96bd6ab61e7521d9',
  externalId: 'jdoe',
})
const patch = (...operations: object[]) => ({
  data: { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: operations },
})

const EFFECTS: [type: string, claims: Record<string, unknown>, effect: AccessEffect][] = [
  [SCIM.deactivate, {}, 'tightens'],
  [SCIM.delete, {}, 'tightens'],
  [SCIM.activate, {}, 'loosens'],
  [SCIM.createFull, { data: { active: false } }, 'loosens'],
  [SCIM.createNotice, { attributes: ['userName'] }, 'loosens'],
  [SCIM.feedAdd, {}, 'neutral'],
  [SCIM.feedRemove, {}, 'neutral'],
  [SCIM.asyncResponse, { method: 'POST', status: '201' }, 'neutral'],
  [SCIM.putFull, { data: { active: false } }, 'tightens'],
  [SCIM.putFull, { data: { Active: 'False' } }, 'tightens'],
  [SCIM.putFull, { data: { active: true } }, 'loosens'],
  [SCIM.putFull, { data: { active: null } }, 'tightens'],
  [SCIM.putFull, { data: { userName: 'jdoe' } }, 'neutral'],
  [SCIM.putFull, {}, 'neutral'],
  [SCIM.putNotice, { attributes: ['emails', 'active'] }, 'tightens'],
  [SCIM.putNotice, { attributes: ['emails'] }, 'neutral'],
  [SCIM.patchNotice, { attributes: ['urn:ietf:params:scim:schemas:core:2.0:User:active'] }, 'tightens'],
  [SCIM.patchNotice, { attributes: ['inactive', 'activeSince'] }, 'neutral'],
  [SCIM.patchFull, patch({ op: 'replace', path: 'active', value: false }), 'tightens'],
  [SCIM.patchFull, patch({ op: 'Replace', path: 'Active', value: 'True' }), 'loosens'],
  [SCIM.patchFull, patch({ op: 'replace', value: { active: false } }), 'tightens'],
  [SCIM.patchFull, patch({ op: 'replace', value: { active: true, title: 'x' } }), 'loosens'],
  [SCIM.patchFull, patch({ op: 'remove', path: 'active' }), 'tightens'],
  [SCIM.patchFull, patch({ op: 'replace', path: 'displayName', value: 'J' }), 'neutral'],
  [
    SCIM.patchFull,
    patch({ op: 'replace', path: 'active', value: true }, { op: 'replace', path: 'active', value: false }),
    'tightens',
  ],
  [SCIM.patchFull, { data: { active: false } }, 'tightens'],
  [SCIM.patchFull, { data: { Operations: 'none' } }, 'neutral'],
]

describe('RFC 9967 §2: SCIM events', () => {
  it('knows the twelve registered types, and lets streams ask for each (§2.3 to §2.5)', () => {
    const names = ['feed:add', 'feed:remove', 'misc:asyncresp', 'prov:activate', 'prov:create:full']
    names.push('prov:create:notice', 'prov:deactivate', 'prov:delete', 'prov:patch:full', 'prov:patch:notice')
    names.push('prov:put:full', 'prov:put:notice')
    assert.deepEqual(
      Object.values(SCIM).sort(),
      names.map((name) => PREFIX + name),
    )
    for (const type of Object.values(SCIM)) assert.ok(EVENTS_SUPPORTED.includes(type))
  })

  for (const [type, claims, effect] of EFFECTS) {
    it(`says that ${type.slice(PREFIX.length)} ${JSON.stringify(claims)} ${effect}`, () => {
      const lane = effect === 'tightens' ? 'urgent' : 'routine'
      assert.deepEqual(classifyEvent(type, claims), { effect, lane })
    })
  }

  it('reads the spelling of drafts as the registered one', () => {
    assert.equal(finalSpelling('urn:ietf:params:SCIM:event:prov:delete'), SCIM.delete)
    assert.equal(finalSpelling('urn:ietf:params:SCIM:event:misc:asyncResp'), SCIM.asyncResponse)
    assert.equal(
      finalSpelling('urn:ietf:params:SCIM:event:prov:other'),
      'urn:ietf:params:SCIM:event:prov:other',
    )
    assert.equal(finalSpelling('https://Example.com/X'), 'https://Example.com/X')
  })

  it('sends the payload and the subject on as they came', () => {
    const claims = { data: { 'urn:example:ext': { a: 1 } }, version: 'W/"3"', vendor: true, subject: 'x' }
    const event = createSecurityEvent({
      eventId: '019312d0-0000-7000-8000-000000000000',
      acceptedAtMs: 1_700_000_000_000,
      type: SCIM.putFull,
      subject,
      claims,
      txn: 't',
      sourceId: 's',
      sourceIssuer: 'https://scim.example.com',
      sourceJti: 'j',
    })
    const set = mintClaims({ event: { ...event, subject }, issuer: 'https://hub', audience: 'gw', jti: 'j' })
    assert.deepEqual(set.events, { [SCIM.putFull]: claims })
    assert.deepEqual(set.sub_id, {
      format: 'scim',
      uri: '/Members/44f6142df96bd6ab61e7521d9',
      externalId: 'jdoe',
    })
  })

  it('asks of a full event its data and of a notice its attributes (§2.4)', () => {
    assert.match(validateEmitted(SCIM.putFull, { claims: {}, subject }).join(), /data/)
    assert.match(validateReceived(SCIM.patchNotice, { attributes: 'active' }).join(), /attributes/)
    assert.deepEqual(validateReceived(SCIM.deactivate, { version: 3, anything: {} }), [])
    assert.deepEqual(validateEmitted(SCIM.createFull, { claims: { data: {} }, subject }), [])
  })
})

describe('RFC 9967 §2.1: the subject format scim', () => {
  it('is one resource by its path, whatever other names stand beside it', () => {
    const bare = parseSubject({ format: 'scim', uri: 'Members/44f6142df96bd6ab61e7521d9' })
    assert.equal(canonicalSubject(bare), canonicalSubject(subject))
    assert.equal(orderKeyOf(bare), orderKeyOf(subject))
    const other = parseSubject({ format: 'scim', uri: '/Members/2', externalId: 'jdoe' })
    assert.notEqual(canonicalSubject(other), canonicalSubject(subject))
  })

  it('may stand in complex subjects and aliases', () => {
    const complex = parseSubject({ format: 'complex', user: { format: 'scim', uri: 'Members/1', id: '1' } })
    assert.equal(orderKeyOf(complex), canonicalSubject({ format: 'scim', uri: '/Members/1' }))
    const aliases = parseSubject({ format: 'aliases', identifiers: [{ format: 'scim', uri: 'Members/1' }] })
    assert.match(canonicalSubject(aliases), /\/Members\/1/)
  })

  it('keeps text members and drops the rest', () => {
    const parsed = parseSubject({ format: 'scim', uri: '/Members/1', id: '1', groups: ['a'], active: true })
    assert.deepEqual(parsed, { format: 'scim', uri: '/Members/1', id: '1' })
  })

  for (const uri of [undefined, '', 7, null, `/${'x'.repeat(3_000)}`]) {
    it(`refuses a uri that is ${String(uri).slice(0, 10)}`, () => {
      assert.throws(() => parseSubject({ format: 'scim', uri }), InvalidSubject)
    })
  }
})
