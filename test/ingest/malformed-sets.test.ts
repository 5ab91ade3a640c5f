import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import { CAEP } from '../../src/secevent/event-types.js'
import {
  claimsOf,
  ec,
  HEADER,
  listLog,
  publicJwk,
  rsa,
  serveHandler,
  setOf,
  signText,
  type TestServer,
  TRANSMITTER_ID,
  transmitterOf,
} from './ingest-fixture.js'

const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 })
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const RS = { key: rsa.privateKey, alg: 'RS256' }

const KEYS = [
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
const withHeader = (header: object, choice = RS) =>
  signText(JSON.stringify(header), JSON.stringify(claimsOf()), choice)
const withPayload = (text: string | Buffer) => signText(JSON.stringify(HEADER), text, RS)
const good = setOf()
const [goodHeader = '', goodPayload = '', goodSignature = ''] = good.split('.')

/** faults.md row S and the table of section 2: what is sent, and what RFC 8935 calls it. */
const REFUSED: [title: string, body: string | Buffer, err: string, status?: number][] = [
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
const QUARANTINED: [title: string, body: string, reason: string][] = [
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

describe('ingest: malformed SETs at the endpoint', () => {
  const log = listLog()
  const logged: string[] = []
  let metrics: Metrics
  let server: TestServer
  let outgoingCalls = 0

  before(async () => {
    metrics = createMetrics()
    const clock = createClock()
    const transmitter: Transmitter = transmitterOf({ jwks: { keys: KEYS }, algorithms: ['RS256', 'ES256'] })
    const note = (event: string, fields?: object) => void logged.push(`${event} ${JSON.stringify(fields)}`)
    const logger = { debug: note, info: note, warn: note, error: note }
    const outgoing = {
      request: () => {
        outgoingCalls += 1
        return assert.fail('a request left')
      },
    }
    const keys = createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics })
    const ingest = createSetIngest({ clock, keys, budgets: createSourceBudgets(clock), log })
    const registry = { find: async (id: string) => (id === TRANSMITTER_ID ? transmitter : undefined) }
    server = await serveHandler(createIngestHandler({ registry, ingest, clock, logger, metrics }))
  })
  after(() => server.stop())
  beforeEach(() => {
    log.events.length = 0
    logged.length = 0
  })

  const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/ingest/${TRANSMITTER_ID}`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', ...headers },
      body,
    })

  for (const [title, body, err, status = 400] of REFUSED) {
    it(`refuses ${title} with ${err}`, async () => {
      const answer = await post(body)
      assert.equal(answer.status, status)
      assert.equal(answer.headers.get('content-type'), 'application/json')
      assert.equal(answer.headers.get('content-language'), 'en')
      const told = (await answer.json()) as Record<string, unknown>
      assert.deepEqual(Object.keys(told), ['err', 'description'])
      assert.equal(told.err, err)
      assert.ok(typeof told.description === 'string' && told.description.length > 10)
      assert.equal(log.events.length, 0)
      assert.equal(logged.length, 1)
      assert.match(logged[0] ?? '', /^set\.rejected /)
      assert.doesNotMatch(logged[0] ?? '', /eyJ|ada@example/)
      assert.equal(outgoingCalls, 0)
    })
  }

  for (const [title, body, reason] of QUARANTINED) {
    it(`stores ${title} as quarantined (${reason}) and answers 202`, async () => {
      const answer = await post(body)
      assert.equal(answer.status, 202)
      assert.equal(log.events[0]?.quarantine, reason)
      assert.equal(log.events[0]?.lane, 'routine')
      assert.match(logged[0] ?? '', /^set\.quarantined .*"reason"/)
    })
  }

  it('takes a good SET of any spelling the standard allows', async () => {
    for (const set of [
      setOf(),
      setOf({}, { typ: 'application/SECEVENT+JWT' }),
      setOf({}, { x5u: 'https://idp.example/cert' }),
      setOf({ aud: ['https://other.example', 'https://hub.example'] }),
      withHeader({ ...HEADER, alg: 'ES256', kid: 'ec' }, { key: ec.privateKey, alg: 'ES256' }),
    ]) {
      const answer = await post(set)
      assert.equal(answer.status, 202)
      assert.equal(await answer.text(), '')
    }
    assert.equal(log.events.length, 5)
  })

  it('takes a valid SET whatever its Content-Type says, and judges the body alone (R-39, ADR 0012)', async () => {
    // A body of bytes is sent without a type unless one is given.
    const send = (text: string, headers: Record<string, string>) =>
      fetch(`${server.url}/ingest/${TRANSMITTER_ID}`, { method: 'POST', headers, body: Buffer.from(text) })
    for (const type of ['text/html', 'application/json', 'x', undefined]) {
      const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type }
      assert.equal((await send(setOf(), headers)).status, 202, String(type))
      assert.equal((await send('{}', headers)).status, 400, String(type))
    }
  })

  it('refuses a Content-Encoding unread', async () => {
    const answer = await post(gzipSync(setOf()), { 'content-encoding': 'gzip' })
    assert.equal(answer.status, 400)
    assert.equal(((await answer.json()) as { err: string }).err, 'invalid_request')
    assert.equal(log.events.length, 0)
  })

  it('answers any mutation of a good SET with 4xx and stores nothing', async () => {
    const token = setOf()
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        fc.constantFrom('flip', 'drop', 'double', 'insert'),
        fc.integer({ min: 1, max: 255 }),
        async (at, how, byte) => {
          const bytes = Buffer.from(token)
          const head = bytes.subarray(0, at)
          const tail = bytes.subarray(at + 1)
          const one = bytes.subarray(at, at + 1)
          const middle = {
            flip: Buffer.from([(one[0] ?? 0) ^ byte]),
            drop: Buffer.alloc(0),
            double: Buffer.concat([one, one]),
            insert: Buffer.concat([Buffer.from([byte]), one]),
          }[how]
          const answer = await post(Buffer.concat([head, middle, tail]))
          const { err } = (await answer.json()) as { err: string }
          assert.equal(answer.status, 400)
          assert.match(err, /^invalid_(request|key)$/)
        },
      ),
      { numRuns: 150 },
    )
    assert.equal(log.events.length, 0)
  })

  /** Sends bytes and gives back all that comes until the connection ends. */
  function raw(text: string, end: 'keep' | 'close' = 'keep'): Promise<string> {
    return new Promise((resolve) => {
      let seen = ''
      const socket = connect(server.port, '127.0.0.1', () => {
        socket.write(text)
        if (end === 'close') socket.end()
      })
      const timer = setTimeout(() => socket.destroy(), 20_000)
      socket.on('data', (chunk) => {
        seen += chunk.toString('latin1')
        if (end === 'keep' && seen.includes('\r\n\r\n')) socket.end()
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        clearTimeout(timer)
        resolve(seen)
      })
    })
  }

  const start = `POST /ingest/${TRANSMITTER_ID} HTTP/1.1\r\nHost: hub\r\n`
  const RAW: [title: string, text: string][] = [
    [
      'both Content-Length and Transfer-Encoding',
      `${start}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['two Content-Lengths', `${start}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a negative Content-Length', `${start}Content-Length: -1\r\n\r\n`],
    ['a chunk size that is no number', `${start}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n`],
    ['an unknown transfer coding', `${start}Transfer-Encoding: gzip\r\n\r\nabc`],
    ['no Host', `POST /ingest/${TRANSMITTER_ID} HTTP/1.1\r\nContent-Length: 0\r\n\r\n`],
    ['a line feed in a header', `${start}X: a\nb: c\r\rContent-Length: 0\r\n\r\n`],
    ['headers over 16 KiB', `${start}X: ${'a'.repeat(20_000)}\r\nContent-Length: 0\r\n\r\n`],
    ['a chunked body that is no SET', `${start}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`],
  ]
  for (const [title, text] of RAW) {
    it(`answers 4xx to ${title} on the wire`, async () => {
      assert.match(await raw(text), /^HTTP\/1\.1 4\d\d /)
      assert.equal(log.events.length, 0)
    })
  }

  it('takes a chunked SET', async () => {
    const set = setOf()
    const text = `${start}Transfer-Encoding: chunked\r\n\r\n${set.length.toString(16)}\r\n${set}\r\n0\r\n\r\n`
    assert.match(await raw(text), /^HTTP\/1\.1 202 /)
  })

  it('stores nothing of a body that ends early, and lives on', async () => {
    const set = setOf()
    const answer = await raw(`${start}Content-Length: ${set.length}\r\n\r\n${set.slice(0, -10)}`, 'close')
    assert.doesNotMatch(answer, / 5\d\d | 202 /)
    assert.equal(log.events.length, 0)
    assert.equal((await post(setOf())).status, 202)
  })

  it('counts what it refused by reason', async () => {
    const text = await metrics.render()
    for (const reason of [
      'invalid_key',
      'invalid_request',
      'invalid_issuer',
      'invalid_audience',
      'too_large',
    ]) {
      assert.match(text, new RegExp(`firebreak_sets_total\\{outcome="rejected",reason="${reason}"\\} [1-9]`))
    }
    assert.doesNotMatch(text, /outcome="failed"/)
  })
})
