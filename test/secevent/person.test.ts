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
    'al@example.com, al@example.community',
    'al@example.community, al@example.com',
    'al@example.com: gone',
    'al@example.com...',
    'al@example.com. At 9',
  ]) {
    it(`is named by ${text}`, () => assert.ok(al.isNamedBy({ claims: { deep: [{ text }] } })))
  }
  for (const text of [
    'hal@example.com',
    'a.al@example.com',
    'al@example.com.au',
    'al@example.community',
    'al@example-com',
    'al@example.com-x',
    'al@example.com_x',
    'al@example.com%x',
    'al@example.com+x',
    'al@example.com@x',
    'al@example.comé',
    'al@example.com1',
    'éal@example.com',
    '1al@example.com',
    '_al@example.com',
    '%al@example.com',
    '+al@example.com',
    '-al@example.com',
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

  it('is named by what each format is known by: inside other text, or only as the whole of it', () => {
    const iss = 'https://idp.example.com'
    const rows: [subject: object, inside: boolean, names: string[], noNames: string[]][] = [
      [EMAIL, true, ['al@example.com'], []],
      [{ format: 'phone_number', phone_number: '+12065550100' }, true, ['+12065550100'], []],
      [
        { format: 'account', uri: 'acct:al@example.com' },
        true,
        ['al@example.com', 'acct:AL@example.com'],
        [],
      ],
      [{ format: 'did', url: 'did:example:123456' }, true, ['did:example:123456'], []],
      [{ format: 'uri', uri: 'spiffe://example.org/al' }, true, ['spiffe://example.org/al'], []],
      [{ format: 'iss_sub', iss, sub: '00u-12345678' }, false, ['00u-12345678'], [iss]],
      [{ format: 'opaque', id: '00u-12345678' }, false, ['00u-12345678'], []],
      [{ format: 'jwt_id', iss, jti: 'jti-12345678' }, false, ['jti-12345678'], [iss]],
      [
        { format: 'saml_assertion_id', issuer: iss, assertion_id: '_a12345678' },
        false,
        ['_a12345678'],
        [iss],
      ],
      [
        {
          format: 'scim',
          uri: '/Groups/12345678',
          externalId: 'e-12345678',
          id: 'i-12345678',
          other: 'o-12345678',
        },
        false,
        ['/Groups/12345678', 'e-12345678', 'i-12345678'],
        ['o-12345678'],
      ],
      [{ format: 'scim', uri: '/Groups/12345678' }, false, ['/Groups/12345678'], []],
      [{ format: 'catalog_item', catalog_id: 'c-12345678' }, false, [], ['c-12345678', 'catalog_item']],
    ]
    for (const [subject, inside, names, noNames] of rows) {
      const one = person(subject)
      for (const name of names) {
        assert.ok(one.isNamedBy(name), name)
        assert.equal(one.isNamedBy(`see ${name} there`), inside, name)
      }
      for (const name of noNames) assert.ok(!one.isNamedBy(name), name)
    }
  })

  it('is known without the acct: at the beginning of an identifier, and no other', () => {
    const one = person({ format: 'uri', uri: 'https://example.com/acct:al' })
    assert.ok(one.isNamedBy('https://example.com/acct:al'))
    assert.ok(!one.isNamedBy('https://example.com/al'))
  })

  it('is named by nothing shorter than 6 characters inside a text, and 8 as the whole of one', () => {
    assert.ok(person({ format: 'email', email: 'a@b.de' }).isNamedBy('to a@b.de'))
    assert.ok(!person({ format: 'email', email: 'a@b.c' }).isNamedBy('to a@b.c'))
    assert.ok(person({ format: 'opaque', id: '12345678' }).isNamedBy('12345678'))
    assert.ok(!person({ format: 'opaque', id: '1234567' }).isNamedBy('1234567'))
  })

  it('is named by any one of many members, items or words, and by none that is no text', () => {
    assert.ok(al.isNamedBy(['x', 7, null, 'al@example.com']))
    assert.ok(al.isNamedBy({ a: 1, b: { c: 'al@example.com' }, d: null }))
    assert.ok(al.isNamedBy({ a: 1, 'al@example.com': null, b: 'x' }))
    for (const value of [undefined, null, true, 7, '', [], {}, ['x'], { x: ['y'] }])
      assert.ok(!al.isNamedBy(value))
  })
})
