import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { CAEP, RISC, SSF } from '../../src/secevent/event-types.js'
import { mintClaims } from '../../src/secevent/mint.js'
import { createSetSigner } from '../../src/secevent/sign.js'
import { parseSubject } from '../../src/secevent/subject.js'
import { readSchema } from '../../src/secevent/validate-event.js'

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const signer = createSetSigner({ kid: 'hub-1', alg: 'RS256', privateKey })
const ISSUER = 'https://hub.example.com/t1'
const AUDIENCE = 'https://hub.example.com/receivers/r1'

async function mint(type: string, claims: Record<string, unknown>, subject: unknown) {
  const event = {
    type,
    claims,
    subject: parseSubject(subject),
    txn: 'cause-1',
    acceptedAtMs: 1_790_000_000_999,
  }
  const compact = await signer.sign(
    mintClaims({ event, issuer: ISSUER, audience: AUDIENCE, jti: '20260921-x' }),
  )
  const [header, payload] = compact.split('.').map((part) => Buffer.from(part, 'base64url').toString())
  return { compact, header: JSON.parse(header as string), payload: JSON.parse(payload as string) }
}

const jane = { format: 'iss_sub', iss: 'https://idp.example.com/', sub: 'jane' }
const revoked = { event_timestamp: 1_790_000_000, reason_admin: { en: 'x' }, vendor: 1, subject: jane }

describe('SSF 1.0 §4 and RFC 8417 §2: the envelope of a minted SET', () => {
  it('has typ secevent+jwt in its short spelling, and names its key (T-11, T-14)', async () => {
    assert.deepEqual((await mint(CAEP.sessionRevoked, {}, jane)).header, {
      alg: 'RS256',
      typ: 'secevent+jwt',
      kid: 'hub-1',
    })
  })

  it('has the stream’s issuer, its receiver’s audience and its own jti, nothing of upstream but txn (T-15 to T-20)', async () => {
    const { payload } = await mint(CAEP.sessionRevoked, revoked, jane)
    assert.equal(payload.iss, ISSUER)
    assert.equal(payload.aud, AUDIENCE)
    assert.equal(payload.jti, '20260921-x')
    assert.equal(payload.txn, 'cause-1')
  })

  it('has an integer iat, rounded down (T-17)', async () => {
    assert.equal((await mint(CAEP.sessionRevoked, {}, jane)).payload.iat, 1_790_000_000)
  })

  it('names its subject in sub_id, with no sub and no exp (T-21 to T-23)', async () => {
    for (const [type, subject] of [
      [CAEP.sessionRevoked, jane],
      [RISC.accountDisabled, { format: 'phone', phone_number: '+12065550100' }],
      [SSF.verification, { format: 'opaque', id: 's-1' }],
    ] as const) {
      const { payload } = await mint(type, {}, subject)
      assert.deepEqual(payload.sub_id, parseSubject(subject))
      assert.ok(!('sub' in payload) && !('exp' in payload))
    }
  })

  it('has exactly one event, an object even when empty (T-24, T-25)', async () => {
    assert.deepEqual((await mint(RISC.accountPurged, {}, jane)).payload.events, { [RISC.accountPurged]: {} })
  })

  it('dates the event inside it, not by toe (T-26)', async () => {
    const { payload } = await mint(CAEP.sessionRevoked, revoked, jane)
    assert.equal(payload.events[CAEP.sessionRevoked].event_timestamp, 1_790_000_000)
    assert.ok(!('toe' in payload))
  })

  it('has no subject inside the event and no member that nobody declared (T-27, T-28)', async () => {
    const { payload } = await mint(CAEP.sessionRevoked, revoked, jane)
    assert.deepEqual(Object.keys(payload.events[CAEP.sessionRevoked]).sort(), [
      'event_timestamp',
      'reason_admin',
    ])
    assert.deepEqual(Object.keys(payload).sort(), ['aud', 'events', 'iat', 'iss', 'jti', 'sub_id', 'txn'])
  })

  it('fits schemas/security-event-token.json for every subject format (T-29, T-30)', async () => {
    const ajv = new Ajv2020({ strict: true })
    ajv.addSchema(readSchema('subject') as object)
    const validate = ajv.compile(readSchema('security-event-token') as object)
    const subjects = [
      jane,
      { format: 'account', uri: 'acct:joe@example.com' },
      { format: 'email', email: 'joe@example.com' },
      { format: 'opaque', id: 'x' },
      { format: 'phone', phone_number: '+1 206 555 0123' },
      { format: 'did', url: 'did:example:1' },
      { format: 'uri', uri: 'spiffe://example.org/agent' },
      { format: 'jwt-id', iss: 'https://i', jti: 'j' },
      { format: 'saml_assertion_id', issuer: 'i', assertion_id: 'a' },
      { format: 'ip-addresses', 'ip-addresses': ['10.0.0.1', '::1'] },
      { format: 'aliases', identifiers: [jane, { format: 'opaque', id: 'x' }] },
      { format: 'complex', user: jane, agent: { format: 'uri', uri: 'spiffe://example.org/agent' } },
      { format: 'catalog_item', catalog_id: 'c/1' },
    ]
    for (const subject of subjects) {
      const { payload } = await mint(CAEP.sessionRevoked, { ...revoked }, subject)
      assert.ok(validate(payload), `${JSON.stringify(subject)}: ${JSON.stringify(validate.errors)}`)
    }
    const { payload } = await mint(CAEP.sessionRevoked, {}, jane)
    for (const spoiled of [
      { sub: 'x' },
      { exp: 1 },
      { iat: 1.5 },
      { sub_id: { ...jane, more: 1 } },
      { events: {} },
    ]) {
      assert.ok(!validate({ ...payload, ...spoiled }), JSON.stringify(spoiled))
    }
  })

  it('changes nothing but kid and signature when it is signed again with another key (T-12)', async () => {
    const other = createSetSigner({
      kid: 'hub-2',
      alg: 'ES256',
      privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    })
    const { compact, payload } = await mint(CAEP.sessionRevoked, revoked, jane)
    assert.equal((await other.sign(payload)).split('.')[1], compact.split('.')[1])
  })
})
