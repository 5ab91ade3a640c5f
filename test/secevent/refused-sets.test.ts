import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { CAEP } from '../../src/secevent/event-types.js'
import { type SetErrorCode, SetRejected } from '../../src/secevent/parse-set.js'
import { KeysUnavailable, type SetExpectations } from '../../src/secevent/verify-set.js'
import {
  AUDIENCE,
  b64,
  claims,
  header,
  ISSUER,
  KID,
  keySource,
  NOW_S,
  otherRsa,
  p256,
  p384,
  receive,
  rsa,
  signRaw,
  smallRsa,
  token,
} from './set-fixtures.js'

const H = JSON.stringify(header())
const C = JSON.stringify(claims())

/** Payload text with one more member, spelled as given. */
const withMember = (member: string) => signRaw(H, C.replace('{', `{${member},`))

function signedWithPublicPem(alg: string): string {
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' })
  const content = `${b64(JSON.stringify(header({ alg })))}.${b64(C)}`
  return `${content}.${createHmac('sha256', pem).update(content).digest('base64url')}`
}

function deep(depth: number): string {
  return withMember(`"deep":${'['.repeat(depth)}${']'.repeat(depth)}`)
}

type Row = [what: string, err: SetErrorCode, text: string | Buffer, changes?: Partial<SetExpectations>]

const unsigned = (alg: string) => `${b64(JSON.stringify(header({ alg })))}.${b64(C)}.`

const GRAMMAR: Row[] = [
  ['an empty body', 'invalid_request', ''],
  ['one part', 'invalid_request', 'abc'],
  ['two parts', 'invalid_request', `${b64(H)}.${b64(C)}`],
  ['four parts, the first three a good SET', 'invalid_request', `${token()}.YQ`],
  ['an empty first part', 'invalid_request', `.${b64(C)}.YQ`],
  ['an empty second part', 'invalid_request', `${b64(H)}..YQ`],
  ['an encrypted token of five parts', 'invalid_request', `${token()}.YQ.YQ`],
  ['a body of 1 MiB', 'invalid_request', 'a'.repeat(1_048_576)],
  ['a token followed by padding', 'invalid_request', `${token()}==`],
  ['a token followed by a newline', 'invalid_request', `${token()}\n`],
  ['a token after a space', 'invalid_request', ` ${token()}`],
  ['a space inside a part', 'invalid_request', token().replace('.', ' .')],
  ['standard base64 characters', 'invalid_request', `${b64(H)}.${b64(C)}.a+/b`],
  ['base64url with left-over bits', 'invalid_request', `${b64(H)}.${b64(C)}.YR`],
  ['a JSON serialisation', 'invalid_request', JSON.stringify({ payload: b64(C), signatures: [] })],
  ['a body that is not UTF-8', 'invalid_request', Buffer.from([0xff, 0xfe, 0x2e, 0x2e])],
  [
    'a payload that is not UTF-8',
    'invalid_request',
    signRaw(H, Buffer.from(C.replace('{', '{"x":"\xc3(",'), 'latin1')),
  ],
  ['a payload with a byte order mark', 'invalid_request', signRaw(H, `\ufeff${C}`)],
  ['a payload that is no JSON', 'invalid_request', signRaw(H, '{"iss":')],
  ['a payload that is an array', 'invalid_request', signRaw(H, '[]')],
  ['a header that is null', 'invalid_request', signRaw('null', C)],
]

const RAW_JSON: Row[] = [
  ['a member twice', 'invalid_request', withMember(`"aud":"${AUDIENCE}"`)],
  ['a member twice, once with an escape', 'invalid_request', withMember(`"\\u0061ud":"${AUDIENCE}"`)],
  ['a header member twice', 'invalid_request', signRaw(H.replace('{', '{"alg":"RS256",'), C)],
  ['a member twice inside the event', 'invalid_request', withMember('"x":{"a":[{"b":1,"b":2}]}')],
  ['a __proto__ member', 'invalid_request', withMember('"__proto__":{"iss":"x"}')],
  ['a nested, escaped __proto__ member', 'invalid_request', withMember('"x":{"\\u005f_proto__":1}')],
  ['33 levels', 'invalid_request', deep(32)],
  ['an array 20,000 levels deep', 'invalid_request', deep(20_000)],
  ['an escaped U+0000', 'invalid_request', withMember('"x":"a\\u0000b"')],
  ['an escaped U+0000 in a name', 'invalid_request', withMember('"a\\u0000b":1')],
  ['a raw U+0000', 'invalid_request', withMember('"x":"a\u0000b"')],
  ['half a surrogate pair', 'invalid_request', withMember('"x":"\\ud800"')],
  ['the halves in the wrong order', 'invalid_request', withMember('"x":"\\udc00\\ud800"')],
  ['half a surrogate pair in the jti', 'invalid_request', signRaw(H, C.replace('set-1', 'set-\\uDFFF'))],
  ['a number beyond double', 'invalid_request', withMember('"x":1e999')],
  ['a number beyond bigint', 'invalid_request', withMember('"x":9223372036854775808')],
  ['a negative number beyond bigint', 'invalid_request', withMember('"x":[-1e19]')],
]

/** Finds the right key whatever the kid, so that only the check of the kid can refuse. */
const anyKid = { find: async () => rsa.publicKey }

const HEADER: Row[] = [
  ['alg none', 'invalid_key', unsigned('none')],
  ['alg nOnE', 'invalid_key', unsigned('nOnE')],
  ['alg none allowed by mistake', 'invalid_key', unsigned('none'), { algorithms: ['none'] }],
  ['no alg', 'invalid_key', token({ header: { alg: undefined } })],
  ['HS256 keyed with the public PEM', 'invalid_key', signedWithPublicPem('HS256')],
  ['HS256 allowed by mistake', 'invalid_key', signedWithPublicPem('HS256'), { algorithms: ['HS256'] }],
  ['an HMAC under alg RS256', 'invalid_key', signedWithPublicPem('RS256')],
  ['an algorithm not on the list', 'invalid_key', token({ header: { alg: 'RS512' } })],
  [
    'a good ES256 signature where only RS256 is allowed',
    'invalid_key',
    token({ header: { alg: 'ES256' }, key: p256.privateKey }),
    { algorithms: ['RS256'], keys: keySource(p256.publicKey) },
  ],
  ['no typ', 'invalid_request', token({ header: { typ: undefined } })],
  ['typ JWT', 'invalid_request', token({ header: { typ: 'JWT' } })],
  ['a typ that only begins well', 'invalid_request', token({ header: { typ: 'secevent+jwt2' } })],
  ['an unknown crit', 'invalid_request', token({ header: { crit: ['x'], x: 1 } })],
  ['b64 false', 'invalid_request', token({ header: { b64: false, crit: ['b64'] } })],
  ['a compressed payload', 'invalid_request', token({ header: { zip: 'DEF' } })],
  ['no kid', 'invalid_key', token({ header: { kid: undefined } })],
  ['a kid that is no string', 'invalid_key', token({ header: { kid: 7 } })],
  ['a kid of 10 kB', 'invalid_key', token({ header: { kid: 'k'.repeat(10_000) } }), { keys: anyKid }],
  ['an empty kid', 'invalid_key', token({ header: { kid: '' } }), { keys: anyKid }],
  ['an unknown kid', 'invalid_key', token({ header: { kid: 'idp-2' } })],
]

const attacker = otherRsa.publicKey.export({ format: 'jwk' })

const KEYS: Row[] = [
  ['the signature of another key', 'invalid_key', token({ key: otherRsa.privateKey })],
  ['an empty signature', 'invalid_key', `${b64(H)}.${b64(C)}.`],
  ['a signature over another payload', 'invalid_key', `${b64(H)}.${b64('{}')}.${token().split('.')[2]}`],
  [
    'the key of an embedded jwk',
    'invalid_key',
    token({ header: { jwk: attacker }, key: otherRsa.privateKey }),
  ],
  [
    'the key of a jku',
    'invalid_key',
    token({ header: { jku: 'http://127.0.0.1:1/jwks' }, key: otherRsa.privateKey }),
  ],
  [
    'an RSA key of 1024 bits',
    'invalid_key',
    token({ key: smallRsa.privateKey }),
    { keys: keySource(smallRsa.publicKey) },
  ],
  ['an RSA key under ES256', 'invalid_key', token({ header: { alg: 'ES256' }, key: p256.privateKey })],
  [
    'a P-384 key under ES256',
    'invalid_key',
    token({ header: { alg: 'ES256' }, key: p384.privateKey }),
    { keys: keySource(p384.publicKey) },
  ],
  ['a private key as the issuer’s', 'invalid_key', token(), { keys: keySource(rsa.privateKey) }],
]

const CLAIMS: Row[] = [
  ['another issuer', 'invalid_issuer', token({ claims: { iss: 'https://evil.example.com/' } })],
  ['the issuer without its slash', 'invalid_issuer', token({ claims: { iss: ISSUER.slice(0, -1) } })],
  ['no issuer', 'invalid_issuer', token({ claims: { iss: undefined } })],
  ['another audience', 'invalid_audience', token({ claims: { aud: ['https://else.example.com'] } })],
  ['no audience', 'invalid_audience', token({ claims: { aud: undefined } })],
  ['an empty audience', 'invalid_audience', token({ claims: { aud: [] } })],
  ['an audience that is no string', 'invalid_audience', token({ claims: { aud: { [AUDIENCE]: 1 } } })],
  ['a top-level sub', 'invalid_request', token({ claims: { sub: 'jane' } })],
  ['a top-level exp to come', 'invalid_request', token({ claims: { exp: NOW_S + 60 } })],
  [
    'an exp that is text, though exp is allowed',
    'invalid_request',
    token({ claims: { exp: '99999999999' } }),
    { tolerances: { allowExp: true } },
  ],
  ['a top-level exp gone by', 'invalid_request', token({ claims: { exp: NOW_S - 60 } })],
  ['no jti', 'invalid_request', token({ claims: { jti: undefined } })],
  ['an empty jti', 'invalid_request', token({ claims: { jti: '' } })],
  ['a jti that is no string', 'invalid_request', token({ claims: { jti: 1 } })],
  ['a jti of 10 kB', 'invalid_request', token({ claims: { jti: 'j'.repeat(10_000) } })],
  ['a jti of 513 characters', 'invalid_request', token({ claims: { jti: 'j'.repeat(513) } })],
  ['a jti with control characters', 'invalid_request', token({ claims: { jti: 'a\u0007b' } })],
  ['no iat', 'invalid_request', token({ claims: { iat: undefined } })],
  ['an iat that is text', 'invalid_request', token({ claims: { iat: String(NOW_S) } })],
  ['an iat before 1970', 'invalid_request', token({ claims: { iat: -1 } })],
  ['no events', 'invalid_request', token({ claims: { events: undefined } })],
  ['an empty events', 'invalid_request', token({ claims: { events: {} } })],
  ['an events array', 'invalid_request', token({ claims: { events: [{}] } })],
  [
    'an event that is null',
    'invalid_request',
    token({ claims: { events: { [CAEP.sessionRevoked]: null } } }),
  ],
  [
    'an event that is true',
    'invalid_request',
    token({ claims: { events: { [CAEP.sessionRevoked]: true } } }),
  ],
  [
    'two events',
    'invalid_request',
    token({ claims: { events: { [CAEP.sessionRevoked]: {}, 'urn:x': {} } } }),
  ],
  [
    'several names of an event, of which one has no object',
    'invalid_request',
    token({ claims: { events: { [CAEP.sessionRevoked]: {}, 'urn:x': null } } }),
    { tolerances: { allowEventAliases: true } },
  ],
]

async function refusal(text: string | Buffer, changes: Partial<SetExpectations> = {}): Promise<unknown> {
  try {
    await receive(text, changes)
  } catch (error) {
    return error
  }
  return assert.fail('it was believed')
}

describe('a SET that is refused', () => {
  const tables = { grammar: GRAMMAR, 'raw JSON': RAW_JSON, header: HEADER, keys: KEYS, claims: CLAIMS }
  for (const [name, rows] of Object.entries(tables)) {
    describe(`for its ${name}`, () => {
      for (const [what, err, text, changes] of rows) {
        it(`answers ${err} to ${what}`, async () => {
          const error = await refusal(text, changes)
          assert.ok(error instanceof SetRejected, String(error))
          assert.equal(error.err, err)
          assert.equal(error.code, 'ERR_SET_REJECTED')
          assert.ok(error.message.length > 20, 'says what to do')
        })
      }
    })
  }

  it('has status 413 only for its size', async () => {
    await assert.rejects(receive('a'.repeat(65_537)), { status: 413 })
    await assert.rejects(receive('a'.repeat(65_536)), { status: 400 })
    await assert.rejects(receive(''), { status: 400 })
  })

  const SAID: [what: string, text: string, message: RegExp][] = [
    ['which part is not base64url: the header', `!.${b64(C)}.YQ`, /^The header of the SET is not unpadded/],
    ['which part is not base64url: the payload', `${b64(H)}.!.YQ`, /^The payload of the SET is not unpadded/],
    [
      'which part is not base64url: the signature',
      `${b64(H)}.${b64(C)}.!`,
      /^The signature of the SET is not/,
    ],
    ['which part is not JSON', signRaw('{', C), /^The header of the SET is not JSON/],
    [
      'which part is not UTF-8',
      signRaw(H, Buffer.from([0x7b, 0xff])),
      /^The payload of the SET is not UTF-8/,
    ],
    ['which part is no object', signRaw(H, '[]'), /^The payload of the SET is not a JSON object/],
    [
      'which part has a member twice',
      withMember('"aud":1'),
      /^The payload of the SET has the member "aud" twice/,
    ],
    ['that it is encrypted', `${token()}.YQ.YQ`, /encrypted token \(5 parts\)/],
    ['how many parts it wants', `${token()}.YQ`, /three parts and nothing else/],
    ['how many parts it wants when one is empty', `${b64(H)}..YQ`, /three parts and nothing else/],
    ['that there is no event', token({ claims: { events: {} } }), /needs an "events" object with one event/],
    ['which claim it must not have', token({ claims: { sub: 'x' } }), /must not have a top-level "sub"/],
    ['how long a jti may be', token({ claims: { jti: '' } }), /"jti" of 1 to 512 characters/],
  ]
  for (const [what, text, message] of SAID) {
    it(`tells its sender ${what}`, async () => void (await assert.rejects(receive(text), { message })))
  }

  it('never repeats what it holds', async () => {
    const secret = 'canary-7c1f'
    const spoiled = [
      signRaw(H, C.replace('jane', secret).replace('}', '')),
      withMember(`"x":"${secret}\\u0000"`),
      token({ claims: { sub: secret } }),
      token({ claims: { iss: secret } }),
    ]
    for (const text of spoiled) {
      const error = await receive(text).catch((reason: unknown) => reason)
      assert.ok(error instanceof SetRejected)
      assert.ok(!JSON.stringify([error.message, error.detail, error.cause]).includes(secret))
    }
  })
})

describe('keys of a SET', () => {
  it('looks at no key that the header offers, and opens no connection', async () => {
    const sockets: unknown[] = []
    const onSocket = (message: unknown) => void sockets.push(message)
    subscribe('net.client.socket', onSocket)
    try {
      const offers = {
        jku: 'https://127.0.0.1:1/jwks',
        x5u: 'https://127.0.0.1:1/cert',
        x5c: ['AA=='],
        jwk: attacker,
      }
      const set = await receive(token({ header: offers }))
      assert.deepEqual(set.ignoredHeaders, ['jku', 'jwk', 'x5u', 'x5c'])
      await new Promise((resolve) => setImmediate(resolve))
      assert.equal(sockets.length, 0)
    } finally {
      unsubscribe('net.client.socket', onSocket)
    }
  })

  it('passes on that keys cannot be had now, so that the sender keeps its SET', async () => {
    const away = {
      async find(): Promise<undefined> {
        throw new KeysUnavailable('Keys of the issuer cannot be fetched now; send the SET again.')
      },
    }
    await assert.rejects(receive(token(), { keys: away }), {
      code: 'ERR_KEYS_UNAVAILABLE',
      status: 503,
      retryAfterS: 2,
    })
  })

  it('asks for no key before grammar and header hold', async () => {
    const untouched = { find: () => assert.fail('asked for a key') }
    await assert.rejects(receive(token({ header: { typ: 'JWT' } }), { keys: untouched }), SetRejected)
    await assert.rejects(receive(withMember('"x":1e999'), { keys: untouched }), SetRejected)
  })

  it('tells the log why a signature does not verify, and the sender only that', async () => {
    const error = await refusal(token({ key: otherRsa.privateKey }))
    assert.ok(error instanceof SetRejected)
    assert.match(error.detail ?? '', /signature verification failed/)
    assert.ok(!error.message.includes(error.detail as string))
  })

  it('asks for a key by algorithm alone when the SET may leave its kid out', async () => {
    const asked: unknown[] = []
    const keys = { find: async (wanted: object) => void asked.push(wanted) }
    const text = token({ header: { kid: undefined } })
    const tolerances = { allowMissingKid: true }
    await assert.rejects(receive(text, { keys: keys as never, tolerances }), { err: 'invalid_key' })
    assert.deepEqual(asked, [{ alg: 'RS256' }])
  })

  it('hands the key source kid and alg only', async () => {
    const asked: unknown[] = []
    const keys = { find: async (wanted: object) => void asked.push(wanted) }
    await assert.rejects(receive(token(), { keys: keys as never }), { err: 'invalid_key' })
    assert.deepEqual(asked, [{ alg: 'RS256', kid: KID }])
  })
})
