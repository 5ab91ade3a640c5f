import assert from 'node:assert/strict'
import { canonicalJson, isJsonObject } from '../../src/secevent/canonical-json.js'

/** Order keys and content hashes are made of these texts and stored, so they may never change. */
describe('canonicalJson', () => {
  it('sorts members by code unit at every level and leaves lists as they are', () => {
    assert.equal(
      canonicalJson({ b: [3, 1, { y: 1, x: null }], a: { d: true, c: 'é' }, B: 0.5, aa: '"' }),
      '{"B":0.5,"a":{"c":"é","d":true},"aa":"\\"","b":[3,1,{"x":null,"y":1}]}',
    )
  })

  it('leaves out members without a value', () => {
    assert.equal(canonicalJson({ b: 1, a: undefined }), '{"b":1}')
    assert.equal(canonicalJson({ a: undefined }), '{}')
    assert.equal(canonicalJson([undefined]), '[null]')
  })
})

describe('isJsonObject', () => {
  it('takes objects, and neither arrays nor null', () => {
    assert.ok(isJsonObject({}))
    for (const value of [null, undefined, [], 'x', 1, true]) assert.ok(!isJsonObject(value))
  })
})
