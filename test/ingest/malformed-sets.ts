import { generateKeyPairSync } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { claimsOf, ec, HEADER, publicJwk, rsa, setOf, signText } from './ingest-fixture.js'

const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const RS = { key: rsa.privateKey, alg: 'RS256' }

/** Of the transmitter that these SETs name, with algorithms RS256 and ES256. */
export const KEYS = [
  publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' }),
  publicJwk(weak.publicKey, { kid: 'weak' }),
  publicJwk(rsa.publicKey, { kid: 'enc', use: 'enc' }),
  publicJwk(rsa.publicKey, { kid: 'pss', alg: 'PS256' }),
  publicJwk(rsa.publicKey, { kid: 'expired', exp: 1_600_000_000 }),
  publicJwk(rsa.publicKey, { kid: 'revoked', revoked: { revoked_at: 1_600_000_000 } }),
  publicJwk(rsa.publicKey, { kid: 'twice' }),
  publicJwk(attacker.publicKey, { kid: 'twice' }),
  publicJwk(p384.publicKey, { kid: 'p384' }),
  publicJwk(ec.publicKey, { kid: 'ec' }),
]

const payload = (text: string) => JSON.stringify(claimsOf()).replace(/^\{/, `{${text},`)
export const withHeader = (header: object, choice = RS) =>
  signText(JSON.stringify(header), JSON.stringify(claimsOf()), choice)
const withPayload = (text: string | Buffer) => signText(JSON.stringify(HEADER), text, RS)
const good = setOf()
const [goodHeader = '', goodPayload = '', goodSignature = ''] = good.split('.')

/** faults.md row S and the table of section 2: what is sent, and what RFC 8935 calls it. */
export const REFUSED: [title: string, body: string | Buffer, err: string, status?: number][] = [
  ['alg none', withHeader({ ...HEADER, alg: 'none' }, { key: rsa.privateKey, alg: 'none' }), 'invalid_key'],
  ['alg nOnE', withHeader({ ...HEADER, alg: 'nOnE' }, { key: rsa.privateKey, alg: 'none' }), 'invalid_key'],
  [
    'HS256 with the public PEM',
    withHeader({ ...HEADER, alg: 'HS256' }, { key: rsa.publicKey, alg: 'HS256' }),
    'invalid_key',
  ],
  ['an algorithm not registered', withHeader({ ...HEADER, alg: 'PS256' }), 'invalid_key'],
  ['typ JWT', setOf({}, { typ: 'JWT' }), 'invalid_request'],
  ['no typ', setOf({}, { typ: undefined }), 'invalid_request'],
  ['an audience of another', setOf({ aud: 'https://other.example' }), 'invalid_audience'],
  ['no audience', setOf({ aud: undefined }), 'invalid_audience'],
  ['an issuer of another', setOf({ iss: 'https://other.example' }), 'invalid_issuer'],
  ['exp passed', setOf({ exp: 1_600_000_000 }), 'invalid_request'],
  ['exp ahead', setOf({ exp: 4_000_000_000 }), 'invalid_request'],
  ['a top-level sub', setOf({ sub: 'ada' }), 'invalid_request'],
  ['crit', setOf({}, { crit: ['x'], x: 1 }), 'invalid_request'],
  ['b64 false', setOf({}, { b64: false, crit: ['b64'] }), 'invalid_request'],
  ['RSA-1024', withHeader({ ...HEADER, kid: 'weak' }, { key: weak.privateKey, alg: 'RS256' }), 'invalid_key'],
  [
    'an embedded jwk of an attacker',
    withHeader(
      { ...HEADER, jwk: publicJwk(attacker.publicKey, {}) },
      { key: attacker.privateKey, alg: 'RS256' },
    ),
    'invalid_key',
  ],
  [
    'a jku of an attacker',
    withHeader(
      { ...HEADER, jku: 'https://attacker.example/jwks' },
      { key: attacker.privateKey, alg: 'RS256' },
    ),
    'invalid_key',
  ],
  ['no kid', setOf({}, { kid: undefined }), 'invalid_key'],
  ['an unknown kid', setOf({}, { kid: 'nobody' }), 'invalid_key'],
  ['a signature of another', withHeader(HEADER, { key: attacker.privateKey, alg: 'RS256' }), 'invalid_key'],
  ['an empty signature', `${goodHeader}.${goodPayload}.`, 'invalid_key'],
  ['an encryption key', setOf({}, { kid: 'enc' }), 'invalid_key'],
  ['a key for another alg', setOf({}, { kid: 'pss' }), 'invalid_key'],
  ['a key past its exp', setOf({}, { kid: 'expired' }), 'invalid_key'],
  ['a revoked key', setOf({}, { kid: 'revoked' }), 'invalid_key'],
  ['a kid that two keys have', setOf({}, { kid: 'twice' }), 'invalid_key'],
  [
    'ES256 with a P-384 key',
    withHeader({ ...HEADER, alg: 'ES256', kid: 'p384' }, { key: p384.privateKey, alg: 'ES256' }),
    'invalid_key',
  ],
  ['aud twice', withPayload(payload('"aud":"https://other.example"')), 'invalid_request'],
  ['a __proto__ member', withPayload(payload('"__proto__":{"x":1}')), 'invalid_request'],
  [
    'kid twice in the header',
    signText('{"alg":"RS256","typ":"secevent+jwt","kid":"k1","kid":"k2"}', '{}', RS),
    'invalid_request',
  ],
  [
    '20,000 nested arrays',
    withPayload(payload(`"deep":${'['.repeat(20_000)}${']'.repeat(20_000)}`)),
    'invalid_request',
  ],
  ['padding at the end', `${good}==`, 'invalid_request'],
  ['a newline at the end', `${good}\n`, 'invalid_request'],
  ['a space in front', ` ${good}`, 'invalid_request'],
  [
    'a space inside',
    `${goodHeader}.${goodPayload.slice(0, 9)} ${goodPayload.slice(9)}.${goodSignature}`,
    'invalid_request',
  ],
  ['standard base64', `${goodHeader}.${goodPayload}.+/${goodSignature.slice(2)}`, 'invalid_request'],
  ['no events', setOf({ events: undefined }), 'invalid_request'],
  ['empty events', setOf({ events: {} }), 'invalid_request'],
  ['events as an array', setOf({ events: [{}] }), 'invalid_request'],
  ['an event that is no object', setOf({ events: { [CAEP.sessionRevoked]: 'yes' } }), 'invalid_request'],
  [
    'two events',
    setOf({ events: { [CAEP.sessionRevoked]: {}, [CAEP.credentialChange]: {} } }),
    'invalid_request',
  ],
  ['no jti', setOf({ jti: undefined }), 'invalid_request'],
  ['no iat', setOf({ iat: undefined }), 'invalid_request'],
  ['iat as text', setOf({ iat: '1700000000' }), 'invalid_request'],
  ['jti of 10 kB', setOf({ jti: 'j'.repeat(10_240) }), 'invalid_request'],
  ['jti with control characters', setOf({ jti: 'a\u0007b' }), 'invalid_request'],
  ['a payload that is not UTF-8', withPayload(Buffer.from([0x7b, 0xff, 0xfe, 0x7d])), 'invalid_request'],
  ['a payload that is an array', withPayload('[]'), 'invalid_request'],
  ['a payload that is cut off', withPayload('{"iss":'), 'invalid_request'],
  ['U+0000 in a string', withPayload(payload('"note":"a\\u0000b"')), 'invalid_request'],
  ['half of a surrogate pair', withPayload(payload('"note":"\\ud800"')), 'invalid_request'],
  ['a number beyond double', withPayload(payload('"n":1e400')), 'invalid_request'],
  ['an empty body', '', 'invalid_request'],
  ['five parts', 'a.b.c.d.e', 'invalid_request'],
  ['two parts', `${goodHeader}.${goodPayload}`, 'invalid_request'],
  ['JSON instead of a SET', '{"set":"x"}', 'invalid_request'],
  ['zeros', Buffer.alloc(100), 'invalid_request'],
  ['64 KiB and one byte', 'a'.repeat(65_537), 'invalid_request', 413],
  ['1 MiB', 'a'.repeat(1_048_576), 'invalid_request', 413],
]

/** Stored and set aside, never refused. */
export const QUARANTINED: [title: string, body: string, reason: string][] = [
  ['an unknown type', setOf({ events: { 'https://idp.example/new-event': { a: 1 } } }), 'unknown_type'],
  ['no subject', setOf({ sub_id: undefined }), 'missing_subject'],
  ['an odd subject', setOf({ sub_id: { format: 'email' } }), 'invalid_subject'],
  [
    'an odd payload',
    setOf({ events: { [CAEP.sessionRevoked]: { event_timestamp: 'yesterday' } } }),
    'invalid_payload',
  ],
  ['iat an hour ahead', setOf({ iat: Math.floor(Date.now() / 1000) + 3_600 }), 'iat_in_future'],
]

/** What no HTTP client would write, to the path of an ingest endpoint. */
export function rawRequests(path: string): [title: string, text: string][] {
  const start = `POST ${path} HTTP/1.1\r\nHost: hub\r\n`
  return [
    [
      'both Content-Length and Transfer-Encoding',
      `${start}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['two Content-Lengths', `${start}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a negative Content-Length', `${start}Content-Length: -1\r\n\r\n`],
    ['a chunk size that is no number', `${start}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n`],
    ['an unknown transfer coding', `${start}Transfer-Encoding: gzip\r\n\r\nabc`],
    ['no Host', `POST ${path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n`],
    ['a line feed in a header', `${start}X: a\nb: c\r\rContent-Length: 0\r\n\r\n`],
    ['headers over 16 KiB', `${start}X: ${'a'.repeat(20_000)}\r\nContent-Length: 0\r\n\r\n`],
    ['a chunked body that is no SET', `${start}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`],
  ]
}

/** One byte of a SET changed, dropped, doubled or put in. */
export function mutated(
  set: string,
  change: { at: number; how: 'flip' | 'drop' | 'double' | 'insert'; byte: number },
): Buffer {
  const bytes = Buffer.from(set)
  const one = bytes.subarray(change.at, change.at + 1)
  const middle = {
    flip: Buffer.from([(one[0] ?? 0) ^ change.byte]),
    drop: Buffer.alloc(0),
    double: Buffer.concat([one, one]),
    insert: Buffer.concat([Buffer.from([change.byte]), one]),
  }[change.how]
  return Buffer.concat([bytes.subarray(0, change.at), middle, bytes.subarray(change.at + 1)])
}
