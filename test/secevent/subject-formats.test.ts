import assert from 'node:assert/strict'
import type { Subject } from '../../src/secevent/event.js'
import {
  canonicalSubject,
  InvalidSubject,
  orderKeyOf,
  parseSubject,
  withoutSessionAll,
} from '../../src/secevent/subject.js'

const jane = { format: 'email', email: 'jane@example.com' }
const joe = { format: 'iss_sub', iss: 'https://idp.example.com/', sub: 'joe' }
const opaque = (id: string) => ({ format: 'opaque', id })
const many = <T>(length: number, item: (n: number) => T): T[] => Array.from({ length }, (_, n) => item(n))
const complexOf = (members: number) => ({
  format: 'complex',
  ...Object.fromEntries(many(members, (n) => [`m${n}`, jane])),
})
const scimOf = (members: number) => ({
  format: 'scim',
  uri: '/Groups/1',
  ...Object.fromEntries(many(members, (n) => [`m${n}`, 'x'])),
})

function isRefused(value: unknown): void {
  assert.throws(() => parseSubject(value), InvalidSubject, JSON.stringify(value).slice(0, 200))
}

describe('limits of a subject', () => {
  const LIMITS: [what: string, most: unknown, oneOver: unknown][] = [
    ['2,048 characters of a member', opaque('x'.repeat(2048)), opaque('x'.repeat(2049))],
    [
      '100 aliases',
      { format: 'aliases', identifiers: many(100, () => jane) },
      { format: 'aliases', identifiers: many(101, () => jane) },
    ],
    ['100 members of a complex subject', complexOf(100), complexOf(101)],
    [
      '100 addresses',
      { format: 'ip-addresses', 'ip-addresses': many(100, (n) => `10.0.0.${n}`) },
      { format: 'ip-addresses', 'ip-addresses': many(101, (n) => `10.0.0.${n}`) },
    ],
    ['100 attributes of a SCIM resource', scimOf(100), scimOf(101)],
    [
      '2,048 characters of JSON in a member of a private format',
      { format: 'catalog_item', id: 'x'.repeat(2046) },
      { format: 'catalog_item', id: 'x'.repeat(2047) },
    ],
    [
      '2,048 characters of JSON in a list of a private format',
      { format: 'catalog_item', id: ['x'.repeat(2044)] },
      { format: 'catalog_item', id: ['x'.repeat(2045)] },
    ],
  ]
  for (const [what, most, oneOver] of LIMITS) {
    it(`are ${what}, and not one more`, () => {
      assert.ok(parseSubject(most))
      isRefused(oneOver)
    })
  }
})

describe('the form of', () => {
  const FORMS: [format: string, member: string, good: string[], bad: string[]][] = [
    [
      'phone_number',
      'phone_number',
      ['+12', `+${'1'.repeat(15)}`],
      [
        '+1',
        `+${'1'.repeat(16)}`,
        '+02065550100',
        '12065550100',
        'x+12065550100',
        '+12065550100x',
        '+1206555x0100',
      ],
    ],
    [
      'account',
      'uri',
      ['acct:j@h', 'acct:j@x@h'],
      ['acct:@example.com', 'acct:joe@', 'acct:joe', 'acct:', 'joe@example.com', 'xacct:joe@example.com'],
    ],
    [
      'email',
      'email',
      ['j@h', '"j@x"@h', 'j j@h'],
      ['@example.com', 'jane@', 'jane', 'jane@exa mple.com', 'jane@example.com '],
    ],
    ['did', 'url', ['did:example:1', 'did:x'], ['xdid:example:1', 'https://did:1', 'di']],
    [
      'uri',
      'uri',
      ['a:b', 'spiffe://example.org/1', 'a+b.c-1:x', 'Z9:%'],
      ['x/a:b', '/a:b', ' a:b', '1a:b', ':b', 'a:', 'a: b', 'a b:c', 'a_b:c', 'example.com'],
    ],
  ]
  for (const [format, member, good, bad] of FORMS) {
    it(`${format} is kept from its first character to its last`, () => {
      for (const text of good) {
        assert.deepEqual(parseSubject({ format, [member]: text }), { format, [member]: text }, text)
      }
      for (const text of bad) isRefused({ format, [member]: text })
    })
  }

  it('addresses is one spelling of each, and text', () => {
    const read = (...addresses: unknown[]) =>
      parseSubject({ format: 'ip-addresses', 'ip-addresses': addresses })['ip-addresses']
    assert.deepEqual(read('::FFFF:10.0.0.1', '2001:0DB8::0:1', 'FE80::1%ETH0', '10.0.0.1'), [
      '::ffff:a00:1',
      '2001:db8::1',
      'fe80::1%eth0',
      '10.0.0.1',
    ])
    for (const address of [['10.0.0.1'], 7, null, '10.0.0', '10.0.0.1 ', '::g', 'example.com']) {
      isRefused({ format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', address] })
    }
    isRefused({ format: 'ip-addresses', 'ip-addresses': '10.0.0.1' })
  })

  it('SCIM paths is a whole URI or one that begins at the root', () => {
    for (const [uri, expected] of [
      ['/Groups/1', '/Groups/1'],
      ['Groups/1', '/Groups/1'],
      ['https://scim.example.com/Groups/1', 'https://scim.example.com/Groups/1'],
      ['URN:example:1', 'URN:example:1'],
      ['Groups/urn:example:1', '/Groups/urn:example:1'],
      ['1:2', '/1:2'],
    ]) {
      assert.deepEqual(parseSubject({ format: 'scim', uri }), { format: 'scim', uri: expected })
    }
  })

  it('SCIM attributes is text that is not empty; others are left out', () => {
    assert.deepEqual(
      parseSubject({ subject_type: 'scim', uri: '/Groups/1', id: '1', externalId: '', n: 7, o: {}, z: null }),
      { format: 'scim', uri: '/Groups/1', id: '1' },
    )
    isRefused({ format: 'scim', uri: '/Groups/1', id: 'x'.repeat(2049) })
  })
})

describe('the format of a subject', () => {
  it('may be called subject_type, which then is no member', () => {
    assert.deepEqual(parseSubject({ subject_type: 'complex', user: jane }), { format: 'complex', user: jane })
    assert.deepEqual(parseSubject({ subject_type: 'catalog_item', id: 1 }), {
      format: 'catalog_item',
      id: 1,
    })
    isRefused({ subject_type: 'complex' })
    isRefused({ subject_type: 'catalog_item' })
  })

  it('may have the spelling of drafts', () => {
    assert.deepEqual(parseSubject({ format: 'ip_addresses', ip_addresses: ['10.0.0.1'] }), {
      format: 'ip-addresses',
      'ip-addresses': ['10.0.0.1'],
    })
    assert.deepEqual(parseSubject({ format: 'id_token_claims', iss: 'https://i', sub: 's', email: 'x' }), {
      format: 'iss_sub',
      iss: 'https://i',
      sub: 's',
    })
    assert.throws(() => parseSubject({ format: 'id_token_claims' }), /"iss" must be/)
  })

  it('may be missing only from a complex subject with a member that SSF 1.0 §3.3 names', () => {
    for (const name of ['user', 'session', 'device', 'application', 'group', 'org_unit', 'tenant']) {
      assert.deepEqual(parseSubject({ [name]: jane }), { format: 'complex', [name]: jane })
    }
    isRefused({ agent: jane })
    isRefused({ user: 'jane' })
    isRefused({})
    assert.throws(() => parseSubject({ agent: jane }), /needs a "format"/)
  })

  it('is not guessed when it is there and no text', () => {
    for (const format of ['', 7, null, {}, ['complex']]) {
      if (format !== null) isRefused({ format, user: jane })
      isRefused({ format, agent: jane })
    }
  })
})

describe('members of a subject', () => {
  it('are subjects in a complex one and in aliases, whatever JSON is there instead', () => {
    for (const value of [null, 7, true, 'jane', [], [jane], {}, { format: 'complex', user: jane }]) {
      isRefused({ format: 'complex', user: value })
      isRefused({ format: 'aliases', identifiers: [jane, value] })
    }
    isRefused({ format: 'aliases', identifiers: jane })
    isRefused({ format: 'aliases' })
  })

  it('are not empty in a private format, and may be anything else', () => {
    for (const value of [null, '']) isRefused({ format: 'catalog_item', id: 'x', other: value })
    const given = { format: 'catalog_item', id: 0, flag: false, list: [], deep: { a: null } }
    assert.deepEqual(parseSubject(given), given)
  })

  it('say in a refusal which of them is wrong', () => {
    const rows: [unknown, RegExp][] = [
      [{ format: 'did', url: 'x' }, /a DID URL \(did:/],
      [{ format: 'account', uri: 'x' }, /an account URI \(acct:/],
      [{ format: 'aliases', identifiers: [7] }, /"identifiers" must hold/],
      [{ format: 'complex', device: 7 }, /"device" must hold/],
      [
        { format: 'complex', device: { format: 'complex' } },
        /"device" must hold a simple subject, not "complex"/,
      ],
      [{ format: 'catalog_item', id: 'x'.repeat(3000) }, /"id" is too long/],
      [scimOf(101), /too many members/],
    ]
    for (const [value, message] of rows) assert.throws(() => parseSubject(value), message)
  })
})

/** Stored as keys: a change would let an old event overtake a new one. */
describe('keys of subjects', () => {
  const keyOf = (value: unknown) => orderKeyOf(parseSubject(value))

  it('are written the same for ever', () => {
    const rows: [unknown, string][] = [
      [joe, '{"format":"iss_sub","iss":"https://idp.example.com/","sub":"joe"}'],
      [{ format: 'scim', uri: 'Groups/1', externalId: 'e' }, '{"format":"scim","uri":"/Groups/1"}'],
      [
        { format: 'ip-addresses', 'ip-addresses': ['10.0.0.2', '10.0.0.1', '10.0.0.2'] },
        '{"format":"ip-addresses","ip-addresses":["10.0.0.1","10.0.0.2"]}',
      ],
      [
        { format: 'aliases', identifiers: [opaque('b'), opaque('c'), opaque('a'), opaque('b')] },
        '{"format":"aliases","identifiers":[{"format":"opaque","id":"a"},{"format":"opaque","id":"b"},{"format":"opaque","id":"c"}]}',
      ],
      [
        { user: jane, device: { format: 'scim', uri: '/Devices/1', id: '1' } },
        '{"device":{"format":"scim","uri":"/Devices/1"},"format":"complex","user":{"email":"jane@example.com","format":"email"}}',
      ],
    ]
    for (const [value, text] of rows) assert.equal(canonicalSubject(parseSubject(value)), text)
  })

  it('are those of one member of a complex subject: by the fixed list, else the first name in the alphabet', () => {
    const rows: [Record<string, object>, object][] = [
      [{ tenant: jane, org_unit: joe }, joe],
      [{ org_unit: jane, group: joe }, joe],
      [{ group: jane, application: joe }, joe],
      [{ application: jane, device: joe }, joe],
      [{ device: jane, session: joe }, joe],
      [{ session: jane, user: joe }, joe],
      [{ zebra: jane, tenant: joe }, joe],
      [{ agent: joe, tenant: jane }, jane],
      [{ zebra: joe }, joe],
      [{ zebra: jane, yak: joe }, joe],
      [{ yak: joe, zebra: jane }, joe],
      [{ b: jane, a: joe, c: jane }, joe],
    ]
    for (const [members, expected] of rows) {
      assert.equal(keyOf({ format: 'complex', ...members }), keyOf(expected), JSON.stringify(members))
    }
  })

  it('are those of the first alias, in whatever order they come', () => {
    const [a, b, c] = [opaque('a'), opaque('b'), opaque('c')]
    for (const identifiers of [
      [a, b, c],
      [c, b, a],
      [b, a, c],
      [c, a, b],
    ]) {
      assert.equal(keyOf({ format: 'aliases', identifiers }), keyOf(a))
    }
  })
})

describe('withoutSessionAll', () => {
  const session = opaque('ALL')

  it('takes an opaque session named ALL out of a complex subject that has more', () => {
    assert.deepEqual(withoutSessionAll({ format: 'complex', user: jane, session }), {
      format: 'complex',
      user: jane,
    })
  })

  it('leaves every other subject alone', () => {
    const others: Subject[] = [
      { format: 'complex', session },
      { format: 'complex', user: jane },
      { format: 'complex', user: jane, session: opaque('all') },
      { format: 'complex', user: jane, session: { format: 'catalog_item', id: 'ALL' } },
      { format: 'complex', user: jane, session: 'ALL' },
      { format: 'catalog_item', user: jane, session },
      session,
    ]
    for (const subject of others) assert.equal(withoutSessionAll(subject), undefined, JSON.stringify(subject))
  })
})
