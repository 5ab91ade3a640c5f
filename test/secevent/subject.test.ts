import assert from 'node:assert/strict'
import type { Subject } from '../../src/secevent/event.js'
import {
  canonicalSubject,
  InvalidSubject,
  orderKeyOf,
  parseSubject,
  slotOf,
} from '../../src/secevent/subject.js'

const jane = { format: 'email', email: 'jane@example.com' }
const joe = { format: 'iss_sub', iss: 'https://idp.example.com/', sub: 'joe' }
const session = { format: 'opaque', id: 's-1' }
const tenant = { format: 'opaque', id: 't-1' }

describe('parseSubject', () => {
  const good: [string, unknown, Subject][] = [
    [
      'account',
      { format: 'account', uri: 'ACCT:Joe@Example.COM' },
      { format: 'account', uri: 'acct:Joe@example.com' },
    ],
    ['email', { format: 'email', email: 'Jane@EXAMPLE.com' }, { format: 'email', email: 'Jane@example.com' }],
    ['iss_sub', joe, joe],
    ['opaque', session, session],
    [
      'phone_number',
      { format: 'phone_number', phone_number: '+1 (206) 555-0123' },
      { format: 'phone_number', phone_number: '+12065550123' },
    ],
    [
      'phone of the RISC text',
      { format: 'phone', phone_number: '+12065550123' },
      { format: 'phone_number', phone_number: '+12065550123' },
    ],
    [
      'phone with a member of its name',
      { format: 'phone', phone: '+12065550123' },
      { format: 'phone_number', phone_number: '+12065550123' },
    ],
    ['did', { format: 'did', url: 'did:example:123#key' }, { format: 'did', url: 'did:example:123#key' }],
    [
      'uri',
      { format: 'uri', uri: 'spiffe://example.org/agent/1' },
      { format: 'uri', uri: 'spiffe://example.org/agent/1' },
    ],
    [
      'jwt_id',
      { format: 'jwt_id', iss: 'https://i', jti: 'j' },
      { format: 'jwt_id', iss: 'https://i', jti: 'j' },
    ],
    [
      'jwt-id of the drafts',
      { format: 'jwt-id', iss: 'https://i', jti: 'j' },
      { format: 'jwt_id', iss: 'https://i', jti: 'j' },
    ],
    [
      'saml_assertion_id',
      { format: 'saml_assertion_id', issuer: 'i', assertion_id: '_a' },
      { format: 'saml_assertion_id', issuer: 'i', assertion_id: '_a' },
    ],
    [
      'ip-addresses',
      { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '2001:DB8:0:0::1'] },
      { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '2001:db8::1'] },
    ],
    [
      'aliases',
      { format: 'aliases', identifiers: [jane, { format: 'phone', phone_number: '+12065550123' }] },
      { format: 'aliases', identifiers: [jane, { format: 'phone_number', phone_number: '+12065550123' }] },
    ],
    ['complex', { format: 'complex', user: joe, session }, { format: 'complex', user: joe, session }],
    [
      'complex with a member of its own',
      { format: 'complex', agent: session },
      { format: 'complex', agent: session },
    ],
    ['complex of before June 2023', { user: joe, tenant }, { format: 'complex', user: joe, tenant }],
    [
      'subject_type of old RISC',
      { subject_type: 'iss-sub', iss: 'https://i', sub: 's' },
      { format: 'iss_sub', iss: 'https://i', sub: 's' },
    ],
    [
      'a format of one’s own',
      { format: 'catalog_item', catalog_id: 'c/1' },
      { format: 'catalog_item', catalog_id: 'c/1' },
    ],
    ['members the format does not define, which it drops', { ...jane, verified: true }, jane],
  ]
  for (const [what, value, expected] of good) {
    it(`reads ${what}`, () => assert.deepEqual(parseSubject(value), expected))
  }

  const bad: [string, unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['text', 'jane@example.com'],
    ['an array', [jane]],
    ['no format', { email: 'jane@example.com' }],
    ['an empty format', { format: '', id: 'x' }],
    ['a format that is no text', { format: 1, id: 'x' }],
    ['a member missing', { format: 'iss_sub', iss: 'https://i' }],
    ['a member that is empty', { format: 'opaque', id: '' }],
    ['a member that is null', { format: 'email', email: null }],
    ['a member of 10 kB', { format: 'opaque', id: 'x'.repeat(10_000) }],
    ['an account that is no acct: URI', { format: 'account', uri: 'https://example.com/joe' }],
    ['an acct: URI without host', { format: 'account', uri: 'acct:joe' }],
    ['an email without domain', { format: 'email', email: 'jane@' }],
    ['a phone number without plus', { format: 'phone_number', phone_number: '2065550123' }],
    ['a DID that is none', { format: 'did', url: 'https://example.com' }],
    ['a URI without scheme', { format: 'uri', uri: '/agent/1' }],
    ['no IP addresses', { format: 'ip-addresses', 'ip-addresses': [] }],
    ['an IP address that is none', { format: 'ip-addresses', 'ip-addresses': ['10.0.0.256'] }],
    ['aliases of nothing', { format: 'aliases', identifiers: [] }],
    ['aliases in aliases', { format: 'aliases', identifiers: [{ format: 'aliases', identifiers: [jane] }] }],
    ['a complex subject in aliases', { format: 'aliases', identifiers: [{ format: 'complex', user: jane }] }],
    ['a complex subject without members', { format: 'complex' }],
    ['a complex subject in a complex one', { format: 'complex', user: { format: 'complex', user: jane } }],
    ['aliases in a complex subject', { format: 'complex', user: { format: 'aliases', identifiers: [jane] } }],
    ['text in a complex subject', { format: 'complex', user: 'jane' }],
    ['a format of one’s own without members', { format: 'catalog_item' }],
    ['a format of one’s own with an empty member', { format: 'catalog_item', catalog_id: null }],
    ['a format named like an object method', { format: 'constructor' }],
  ]
  for (const [what, value] of bad) {
    it(`refuses ${what}, and says what is wanted`, () => {
      assert.throws(
        () => parseSubject(value),
        (error: unknown) => {
          assert.ok(error instanceof InvalidSubject)
          assert.equal(error.code, 'ERR_INVALID_SUBJECT')
          return error.message.length > 30
        },
      )
    })
  }

  it('reads what it has written', () => {
    for (const [, value] of good) {
      const subject = parseSubject(value)
      assert.deepEqual(
        parseSubject(JSON.parse(canonicalSubject(subject))),
        JSON.parse(canonicalSubject(subject)),
      )
      assert.equal(
        canonicalSubject(parseSubject(JSON.parse(canonicalSubject(subject)))),
        canonicalSubject(subject),
      )
    }
  })
})

describe('canonicalSubject', () => {
  const equal: [string, unknown, unknown][] = [
    ['the order of members', joe, { sub: joe.sub, iss: joe.iss, format: 'iss_sub' }],
    ['the case of an email domain', jane, { format: 'email', email: 'jane@EXAMPLE.COM' }],
    [
      'the order of a complex subject',
      { format: 'complex', user: jane, session },
      { session, format: 'complex', user: jane },
    ],
    [
      'the order and repeats of aliases',
      { format: 'aliases', identifiers: [jane, joe] },
      { format: 'aliases', identifiers: [joe, jane, joe] },
    ],
    [
      'the order and repeats of addresses',
      { format: 'ip-addresses', 'ip-addresses': ['::1', '10.0.0.1'] },
      { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '0:0::1', '10.0.0.1'] },
    ],
    [
      'the order of addresses of a device',
      { format: 'complex', device: { format: 'ip-addresses', 'ip-addresses': ['::1', '::2'] } },
      { format: 'complex', device: { format: 'ip-addresses', 'ip-addresses': ['::2', '::1'] } },
    ],
  ]
  for (const [what, a, b] of equal) {
    it(`ignores ${what}`, () => {
      assert.equal(canonicalSubject(parseSubject(a)), canonicalSubject(parseSubject(b)))
    })
  }

  const different: [string, unknown, unknown][] = [
    ['the case of an email’s local part', jane, { format: 'email', email: 'Jane@example.com' }],
    ['the format', { format: 'opaque', id: 'did:x' }, { format: 'uri', uri: 'did:x' }],
    ['the issuer', joe, { ...joe, iss: 'https://idp.example.com' }],
    ['the name of a complex member', { format: 'complex', user: jane }, { format: 'complex', agent: jane }],
    ['simple and complex', jane, { format: 'complex', user: jane }],
  ]
  for (const [what, a, b] of different) {
    it(`keeps ${what} apart`, () => {
      assert.notEqual(canonicalSubject(parseSubject(a)), canonicalSubject(parseSubject(b)))
    })
  }
})

describe('orderKeyOf', () => {
  const key = (value: unknown) => orderKeyOf(parseSubject(value))

  it('is one for a person named alone and with a session, a device or a tenant', () => {
    for (const rest of [{ session }, { device: tenant }, { tenant, session, agent: joe }]) {
      assert.equal(key({ format: 'complex', user: jane, ...rest }), key(jane))
    }
  })

  it('falls back to the session, then to a fixed list, then to the first name', () => {
    assert.equal(key({ format: 'complex', tenant, session }), key(session))
    assert.equal(key({ format: 'complex', tenant, device: joe }), key(joe))
    assert.equal(key({ format: 'complex', zebra: jane, agent: joe }), key(joe))
  })

  it('is that of the first alias in canonical order, however they are listed', () => {
    assert.equal(
      key({ format: 'aliases', identifiers: [joe, jane] }),
      key({ format: 'aliases', identifiers: [jane, joe] }),
    )
    assert.equal(key({ format: 'aliases', identifiers: [joe, jane] }), key(jane))
  })
})

describe('slotOf', () => {
  it('is 0 to 63, stable for ever, and spreads', () => {
    assert.equal(slotOf('{"email":"jane@example.com","format":"email"}'), 55)
    const slots = new Set(Array.from({ length: 2000 }, (_, index) => slotOf(`subject ${index}`)))
    assert.equal(slots.size, 64)
    assert.ok(Math.min(...slots) === 0 && Math.max(...slots) === 63)
  })
})
