import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { compactVerify, decodeProtectedHeader } from 'jose'
import { readLogRecord, signLogRecord } from '../../src/secevent/log-record.js'
import { p256, signRaw } from './set-fixtures.js'

const KEY = { kid: 'log-1', privateKey: p256.privateKey }
const CLAIMS = { iss: 'https://hub.example.com', note: 'ü' }
const HEADER = { alg: 'ES256', typ: 'secevent+jwt', kid: 'log-1' }

const findKey = (kid: string): KeyObject | undefined => (kid === 'log-1' ? p256.publicKey : undefined)
const read = (record: string) => readLogRecord(record, findKey)
const withHeader = (header: unknown, claims = '{}') =>
  signRaw(JSON.stringify(header), claims, p256.privateKey)

describe('a record of the log', () => {
  it('is a SET in compact form that any JWT library verifies (RFC 8417 §2)', async () => {
    const record = signLogRecord(CLAIMS, KEY)
    const { payload } = await compactVerify(record, p256.publicKey, { algorithms: ['ES256'] })
    assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), CLAIMS)
    assert.deepEqual(decodeProtectedHeader(record), HEADER)
  })

  it('is read back as it was written', () => {
    assert.deepEqual(read(signLogRecord(CLAIMS, KEY)), { claims: CLAIMS })
    assert.deepEqual(read(withHeader(HEADER)), { claims: {} })
  })

  it('names its own key, however many keys have signed', () => {
    const next = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    for (const kid of ['log-1', 'log-2', 'log-1']) {
      const privateKey = kid === 'log-1' ? p256.privateKey : next.privateKey
      assert.equal(decodeProtectedHeader(signLogRecord(CLAIMS, { kid, privateKey })).kid, kid)
    }
  })

  const record = signLogRecord(CLAIMS, KEY)
  const malformed: [what: string, text: string][] = [
    ['nothing', ''],
    ['one part', 'abc'],
    ['two parts', record.slice(0, record.lastIndexOf('.'))],
    ['a fourth part', `${record}.YQ`],
    ['a part before it', `YQ.${record}`],
    ['a line break before it', `\n${record}`],
    ['a line break after it', `${record}\n`],
    ['a signature that is a character short', record.slice(0, -1)],
    ['a signature that is a character long', `${record}A`],
    ['no header', record.slice(record.indexOf('.'))],
    ['no claims', record.replace(/\.[^.]+\./, '..')],
    ['characters of standard base64', record.replace('.', '+.')],
    ['a header that is no JSON', signRaw('{"alg":', '{}', p256.privateKey)],
    ['a header that is null', withHeader(null)],
    ['a header that is an array', withHeader([HEADER])],
    ['a header that is text', withHeader('ES256')],
    ['alg none', withHeader({ ...HEADER, alg: 'none' })],
    ['another alg', withHeader({ ...HEADER, alg: 'ES384' })],
    ['no typ', withHeader({ ...HEADER, typ: undefined })],
    ['another typ', withHeader({ ...HEADER, typ: 'JWT' })],
    ['no kid', withHeader({ ...HEADER, kid: undefined })],
    ['a kid that is no text', withHeader({ ...HEADER, kid: 1 })],
    ['claims that are no JSON', withHeader(HEADER, '{"a":')],
    ['claims that are null', withHeader(HEADER, 'null')],
    ['claims that are an array', withHeader(HEADER, '[]')],
    ['claims that are text', withHeader(HEADER, '"a"')],
    ['claims that are a number', withHeader(HEADER, '1')],
  ]
  for (const [what, text] of malformed) {
    it(`is malformed with ${what}, though the hub's own key signed it`, () => {
      assert.deepEqual(
        readLogRecord(text, () => p256.publicKey),
        { refused: 'malformed' },
      )
    })
  }

  it('has a header of at most 512 characters', () => {
    // 381 bytes of JSON are 508 characters, 384 are 512.
    const ofBytes = (bytes: number) => {
      const header = { ...HEADER, pad: '' }
      header.pad = 'x'.repeat(bytes - JSON.stringify(header).length)
      return withHeader(header)
    }
    assert.deepEqual(read(ofBytes(384)), { claims: {} })
    assert.deepEqual(read(ofBytes(385)), { refused: 'malformed' })
  })

  it('is told apart when its key is not known here: another process may have made it', () => {
    assert.deepEqual(read(withHeader({ ...HEADER, kid: 'log-2' })), { refused: 'unknown_key' })
  })

  it('is not of this hub when another key signed it, or header or claims are others', () => {
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const [header, , signature] = record.split('.')
    for (const text of [
      signLogRecord(CLAIMS, { ...KEY, privateKey: stranger.privateKey }),
      `${header}.${Buffer.from('{"iss":"x"}').toString('base64url')}.${signature}`,
      record.replace(/[^.]+/, Buffer.from(JSON.stringify({ ...HEADER, x: 1 })).toString('base64url')),
      `${record.slice(0, -86)}${'A'.repeat(86)}`,
    ]) {
      assert.deepEqual(read(text), { refused: 'not_signed_by_hub' })
    }
  })
})
