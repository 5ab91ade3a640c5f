import assert from 'node:assert/strict'
import { decodeProtectedHeader, jwtVerify } from 'jose'
import { createRecordCodec, LOG_AUDIENCE } from '../../src/eventlog/record-codec.js'
import { signLogRecord } from '../../src/secevent/log-record.js'
import { clock, createTestKeyStore, foreignKeyPair, ISSUER, makeEvent } from './log-fixtures.js'

const WINDOW_MS = 14 * 86_400_000
const PLACE = { lane: 'urgent', slot: 7 } as const

describe('record codec', () => {
  const store = createTestKeyStore()
  const makeCodec = (keys = store.open(), issuer = ISSUER) =>
    createRecordCodec({ keys, issuer, clock, maxAgeMs: WINDOW_MS })
  const writer = makeCodec()

  it('makes records that another process reads as they were', () => {
    const event = makeEvent({ quarantine: 'unknown_type' })
    const record = writer.encode(event)
    assert.deepEqual(
      { lane: record.lane, slot: record.slot, eventId: record.eventId },
      { ...PLACE, eventId: event.eventId },
    )
    assert.deepEqual(makeCodec().decode(record.record, PLACE), event)
  })

  it('makes records that a JWT library verifies as a SET', async () => {
    const event = makeEvent()
    const { record } = writer.encode(event)
    const [key] = store.open().logPublicKeys().values()
    const options = { issuer: ISSUER, audience: LOG_AUDIENCE, typ: 'secevent+jwt', algorithms: ['ES256'] }
    const { payload } = await jwtVerify(record, key as NonNullable<typeof key>, options)
    assert.equal(payload.jti, event.eventId)
    assert.deepEqual(payload.sub_id, event.subject)
    assert.deepEqual(payload.events, { [event.type]: event.claims })
    assert.deepEqual(Object.keys(decodeProtectedHeader(record)).sort(), ['alg', 'kid', 'typ'])
  })

  it('checks the place and the age of its own records too, which it need not verify', () => {
    const { record } = writer.encode(makeEvent())
    assert.throws(() => writer.decode(record, { lane: 'routine', slot: 7 }), {
      reason: 'signed_for_another_lane',
    })
    const again = writer.encode(makeEvent()).record
    assert.throws(() => writer.decode(again, { lane: 'urgent', slot: 6 }), {
      reason: 'signed_for_another_slot',
    })
    const old = writer.encode(makeEvent({ acceptedAtMs: Math.floor(clock.now()) - WINDOW_MS - 1 })).record
    assert.throws(() => writer.decode(old, PLACE), { reason: 'too_old' })
  })

  const { record: good } = writer.encode(makeEvent())
  const [header, claims, signature] = good.split('.') as [string, string, string]
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { kid } = store.open().logSigningKey()
  const { privateKey } = store.open().logSigningKey()
  const changed = `${claims.slice(0, 40)}${claims[40] === 'A' ? 'B' : 'A'}${claims.slice(41)}`
  const refusals: [string, string, string][] = [
    ['an empty text', '', 'malformed'],
    ['two parts', `${header}.${claims}`, 'malformed'],
    ['padding', `${good}==`, 'malformed'],
    ['a line end', `${good}\n`, 'malformed'],
    ['changed claims', `${header}.${changed}.${signature}`, 'not_signed_by_hub'],
    [
      'a stranger’s signature',
      signLogRecord({ iss: ISSUER }, { kid, privateKey: foreignKeyPair() }),
      'not_signed_by_hub',
    ],
    ['an unknown key', signLogRecord({ iss: ISSUER }, { kid: 'other', privateKey }), 'not_signed_by_hub'],
    ['alg none', `${encode({ alg: 'none', typ: 'secevent+jwt', kid })}.${claims}.${signature}`, 'malformed'],
    ['another typ', `${encode({ alg: 'ES256', typ: 'JWT', kid })}.${claims}.${signature}`, 'malformed'],
    ['no kid', `${encode({ alg: 'ES256', typ: 'secevent+jwt' })}.${claims}.${signature}`, 'malformed'],
    [
      'something else signed by the hub',
      signLogRecord({ iss: ISSUER, aud: LOG_AUDIENCE }, { kid, privateKey }),
      'malformed',
    ],
    [
      'another hub’s record under the same key',
      makeCodec(store.open(), 'https://other.example').encode(makeEvent()).record,
      'malformed',
    ],
    [
      'a record for another audience',
      signLogRecord(
        { ...JSON.parse(Buffer.from(claims, 'base64url').toString()), aud: 'x' },
        { kid, privateKey },
      ),
      'malformed',
    ],
  ]
  for (const [what, record, reason] of refusals) {
    it(`does not believe ${what}`, () => {
      assert.throws(() => makeCodec().decode(record, PLACE), { code: 'ERR_RECORD_REJECTED', reason })
    })
  }

  it('reads the keys again at most once a second, whatever key ids are forged', async () => {
    let refreshes = 0
    const keys = store.open()
    const codec = makeCodec({
      ...keys,
      refresh: async () => {
        refreshes += 1
      },
    })
    assert.equal(await codec.refreshKeys(), true)
    assert.equal(await codec.refreshKeys(), false)
    assert.equal(refreshes, 1)
  })
})
