import assert from 'node:assert/strict'
import { createPerson, identifiersOf } from '../../src/secevent/person.js'
import { parseSubject } from '../../src/secevent/subject.js'

const person = (...subjects: object[]) =>
  createPerson(subjects.flatMap((one) => identifiersOf(parseSubject(one))))
const EMAIL = { format: 'email', email: 'al@Example.com' }

describe('a person in what is stored', () => {
  const al = person(EMAIL)

  it('is in a subject that is the identifier, or has it as a member or alias', () => {
    const other = { format: 'email', email: 'bo@example.com' }
    for (const [subject, found] of [
      [EMAIL, true],
      [other, false],
      [{ format: 'complex', user: EMAIL, device: { format: 'opaque', id: 'd' } }, true],
      [{ format: 'complex', user: other, group: EMAIL }, true],
      [{ format: 'complex', user: other }, false],
      [{ format: 'aliases', identifiers: [other, EMAIL] }, true],
      [{ format: 'aliases', identifiers: [other] }, false],
      [{ format: 'phone_number', phone_number: '+12065550100' }, false],
    ] as const) {
      assert.equal(al.isIn(parseSubject(subject)), found, JSON.stringify(subject))
    }
  })

  for (const text of [
    'al@example.com',
    'user AL@EXAMPLE.COM.',
    'acct:al@example.com',
    '<al@example.com>',
    'x,al@example.com;',
  ]) {
    it(`is named by ${text}`, () => assert.ok(al.isNamedBy({ claims: { deep: [{ text }] } })))
  }
  for (const text of [
    'hal@example.com',
    'a.al@example.com',
    'al@example.com.au',
    'al@example.community',
    'al@example-com',
    'al',
  ]) {
    it(`is not named by ${text}`, () => assert.ok(!al.isNamedBy({ claims: { text } })))
  }

  it('is named by the name of a member too', () => assert.ok(al.isNamedBy({ 'al@example.com': 1 })))

  it('is named by an id only as a whole and when it is long enough to be one', () => {
    const one = person({ format: 'iss_sub', iss: 'https://idp.example.com', sub: 'auth0|5f7c' })
    assert.ok(one.isNamedBy({ sub: 'AUTH0|5f7c' }))
    assert.ok(!one.isNamedBy({ text: 'auth0|5f7c and more', iss: 'https://idp.example.com' }))
    const short = person({ format: 'opaque', id: '1' })
    assert.ok(!short.isNamedBy({ count: '1' }))
    assert.ok(short.isIn({ format: 'opaque', id: '1' }))
  })

  it('has every name that aliases give', () => {
    const both = person({
      format: 'aliases',
      identifiers: [EMAIL, { format: 'phone_number', phone_number: '+1 206 555 0100' }],
    })
    assert.ok(both.isNamedBy('al@example.com'))
    assert.ok(both.isNamedBy('call +12065550100'))
    assert.ok(!both.isNamedBy('call +120655501001'))
  })
})
