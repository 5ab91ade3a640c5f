import assert from 'node:assert/strict'
import type { AccessEffect } from '../../src/secevent/event.js'
import { stateEffect } from '../../src/secevent/scim-state.js'

const USER = 'urn:ietf:params:scim:schemas:core:2.0:User'
const operations = (...Operations: unknown[]) => ({ data: { Operations } })

/** RFC 9967 §2.4, with the bodies of RFC 7644 §3.5. */
const ROWS: [claims: Record<string, unknown>, effect: AccessEffect][] = [
  [{}, 'neutral'],
  [{ data: 'active' }, 'neutral'],
  [{ data: { displayName: 'Al' } }, 'neutral'],
  [{ data: { active: false } }, 'tightens'],
  [{ data: { active: true } }, 'loosens'],
  [{ data: { ACTIVE: 'True' } }, 'loosens'],
  [{ data: { active: 'no' } }, 'tightens'],
  [{ data: { active: null } }, 'tightens'],
  [{ data: { [`${USER}:active`]: false } }, 'tightens'],
  [{ data: { inactive: false, activeSince: 1, 'x active': false } }, 'neutral'],
  [{ attributes: ['displayName', 'Active'] }, 'tightens'],
  [{ attributes: [`${USER}:active`] }, 'tightens'],
  [{ attributes: ['displayName'] }, 'neutral'],
  [{ attributes: [] }, 'neutral'],
  [{ attributes: [['active'], 7, null] }, 'neutral'],
  [operations(), 'neutral'],
  [operations({ op: 'replace', path: 'active', value: true }), 'loosens'],
  [operations({ op: 'replace', path: 'active', value: false }), 'tightens'],
  [operations({ op: 'replace', Path: 'ACTIVE', Value: 'true' }), 'loosens'],
  [operations({ op: 'remove', path: 'active' }), 'tightens'],
  [operations({ op: 'replace', value: { active: true } }), 'loosens'],
  [operations({ op: 'replace', value: { displayName: 'Al' } }), 'neutral'],
  [operations({ op: 'replace', value: 'active' }), 'neutral'],
  [operations({ op: 'replace', path: 'displayName', value: false }), 'neutral'],
  [operations({ op: 'replace', path: ['active'], value: true }), 'neutral'],
  [
    operations({ path: 'active', value: true }, { path: 'displayName' }, { path: 'active', value: false }),
    'tightens',
  ],
  [operations(null, 'active', 7, { path: 'active', value: true }), 'loosens'],
  [{ data: { operations: { path: 'active', value: false } } }, 'neutral'],
  [{ data: { active: true, operations: [{ path: 'active', value: false }] } }, 'tightens'],
]

describe('what a SCIM event does to access', () => {
  for (const [claims, effect] of ROWS) {
    it(`is ${effect} for ${JSON.stringify(claims)}`, () => assert.equal(stateEffect(claims), effect))
  }
})
