import assert from 'node:assert/strict'
import { webcrypto } from 'node:crypto'
import { CAEP, RISC, SSF } from '../../src/secevent/event-types.js'
import {
  AUDIENCE,
  claims,
  header,
  ISSUER,
  keySource,
  NOW_S,
  p256,
  receive,
  rsa,
  signRaw,
  token,
} from './set-fixtures.js'

const event = (type: string, payload: Record<string, unknown>) => ({ events: { [type]: payload } })

describe('a SET that is believed', () => {
  it('comes out as issuer, jti, times, event and subject', async () => {
    const set = await receive(token())
    assert.equal(set.issuer, ISSUER)
    assert.equal(set.jti, 'set-1')
    assert.equal(set.iatS, NOW_S)
    assert.equal(set.txn, 'cause-1')
    assert.equal(set.type, CAEP.sessionRevoked)
    assert.deepEqual(set.subject, { format: 'email', email: 'jane@example.com' })
    assert.deepEqual(set.claims, { event_timestamp: NOW_S - 1 })
    assert.equal(set.quarantine, undefined)
    assert.deepEqual([set.problems, set.tolerated, set.ignoredHeaders], [[], [], []])
  })

  it('gives the content hash all claims but iat and jti', async () => {
    const { iat: _iat, jti: _jti, ...rest } = claims({ extra: { deep: [1] } })
    assert.deepEqual((await receive(token({ claims: { extra: { deep: [1] } } }))).contentClaims, rest)
  })

  for (const typ of [
    'secevent+jwt',
    'SECEVENT+JWT',
    'application/secevent+jwt',
    'Application/SecEvent+JWT',
  ]) {
    it(`may spell its type ${typ}`, async () => {
      assert.equal((await receive(token({ header: { typ } }))).quarantine, undefined)
    })
  }

  it('may be signed with ES256', async () => {
    const text = token({ header: { alg: 'ES256' }, key: p256.privateKey })
    assert.equal((await receive(text, { keys: keySource(p256.publicKey) })).jti, 'set-1')
  })

  it('is verified with a CryptoKey as with a KeyObject', async () => {
    const key = await webcrypto.subtle.importKey(
      'jwk',
      rsa.publicKey.export({ format: 'jwk' }),
      { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
      true,
      ['verify'],
    )
    assert.equal((await receive(token(), { keys: { find: async () => key } })).jti, 'set-1')
  })

  it('may name several audiences, and the hub may have several', async () => {
    const text = token({ claims: { aud: ['https://else.example.com', AUDIENCE] } })
    assert.equal((await receive(text, { audience: ['urn:x', AUDIENCE] })).jti, 'set-1')
  })

  it('may be old: held and paused events are', async () => {
    assert.equal((await receive(token({ claims: { iat: NOW_S - 90 * 86_400 } }))).quarantine, undefined)
  })

  it('may have members nobody knows, in the SET and in the event', async () => {
    const text = token({
      claims: { toe: 1, vendor: { a: 1 }, ...event(CAEP.sessionRevoked, { vendor: true }) },
    })
    const set = await receive(text)
    assert.equal(set.quarantine, undefined)
    assert.deepEqual(set.claims, { vendor: true })
  })

  it('may use escapes, pairs of surrogates, members of one name in different objects and 32 levels', async () => {
    const odd = `"x":{"a":"\\ud83d\\ude00 \\"}{","b":[{"a":1},{"a":2}]},"deep":${'['.repeat(31)}1${']'.repeat(31)}`
    const text = signRaw(JSON.stringify(header()), JSON.stringify(claims()).replace('{', `{${odd},`))
    assert.equal((await receive(text)).quarantine, undefined)
  })

  it('loses a txn that cannot be a join key, never the event; drafts sent numbers', async () => {
    assert.equal((await receive(token({ claims: { txn: 8675309 } }))).txn, '8675309')
    for (const txn of ['', 'a\nb', 'x'.repeat(513), { a: 1 }, null]) {
      const set = await receive(token({ claims: { txn } }))
      assert.equal(set.txn, undefined)
      assert.equal(set.quarantine, undefined)
    }
  })

  it('may carry a framework event about our stream upstream', async () => {
    const about = { sub_id: { format: 'opaque', id: 's-1' } }
    const verification = await receive(
      token({ claims: { ...about, ...event(SSF.verification, { state: 'x' }) } }),
    )
    assert.equal(verification.quarantine, undefined)
    const updated = await receive(
      token({ claims: { ...about, ...event(SSF.streamUpdated, { status: 'paused' }) } }),
    )
    assert.equal(updated.quarantine, undefined)
  })
})

describe('a SET that is believed but odd', () => {
  const rows: [string, string, Record<string, unknown>][] = [
    ['an unknown event type', 'unknown_type', event('https://example.com/event/x', { a: 1 })],
    ['no subject', 'missing_subject', { sub_id: undefined }],
    ['a subject without format', 'invalid_subject', { sub_id: { email: 'jane@example.com' } }],
    ['a subject that is text', 'invalid_subject', { sub_id: 'jane' }],
    [
      'an empty member in its subject',
      'invalid_subject',
      { sub_id: { format: 'iss_sub', iss: '', sub: 'x' } },
    ],
    [
      'a complex subject inside a complex one',
      'invalid_subject',
      { sub_id: { format: 'complex', user: { format: 'complex' } } },
    ],
    [
      'the wrong subject format for its type',
      'invalid_subject',
      { sub_id: { format: 'opaque', id: 'x' }, ...event(RISC.identifierRecycled, {}) },
    ],
    ['a verification of no stream', 'invalid_subject', event(SSF.verification, {})],
    [
      'an enumerated value out of range',
      'invalid_payload',
      event(CAEP.riskLevelChange, { principal: 'USER', current_level: 'CRITICAL' }),
    ],
    [
      'a required member missing',
      'invalid_payload',
      event(CAEP.deviceComplianceChange, { current_status: 'compliant' }),
    ],
    ['a member of the wrong type', 'invalid_payload', event(CAEP.sessionRevoked, { initiating_entity: 7 })],
    [
      'a time in milliseconds',
      'invalid_payload',
      event(CAEP.sessionRevoked, { event_timestamp: NOW_S * 1000 }),
    ],
    ['a time before 1970', 'invalid_payload', event(CAEP.sessionRevoked, { event_timestamp: -1 })],
    ['an iat an hour ahead', 'iat_in_future', { iat: NOW_S + 3600 }],
    ['an iat beyond any calendar', 'iat_in_future', { iat: 1e18 }],
    ['an nbf ahead', 'iat_in_future', { nbf: NOW_S + 3600 }],
  ]
  for (const [what, reason, changes] of rows) {
    it(`is quarantined as ${reason} for ${what}`, async () => {
      const set = await receive(token({ claims: changes }))
      assert.equal(set.quarantine, reason)
      if (reason !== 'iat_in_future') assert.ok(set.problems.length > 0)
      assert.equal(set.jti, 'set-1')
    })
  }

  it('is not quarantined for an iat within the skew, by default 120 s', async () => {
    assert.equal((await receive(token({ claims: { iat: NOW_S + 120 } }))).quarantine, undefined)
    assert.equal((await receive(token({ claims: { iat: NOW_S + 121 } }))).quarantine, 'iat_in_future')
    const strict = { tolerances: { futureSkewS: 60 } }
    assert.equal((await receive(token({ claims: { iat: NOW_S + 61 } }), strict)).quarantine, 'iat_in_future')
  })

  it('keeps a subject that could be read', async () => {
    const set = await receive(token({ claims: event('urn:x', {}) }))
    assert.deepEqual(set.subject, { format: 'email', email: 'jane@example.com' })
  })
})

describe('what a transmitter may be forgiven', () => {
  const rows: [string, Record<string, unknown>, string][] = [
    ['a missing kid', { header: { kid: undefined } }, 'allowMissingKid'],
    ['typ JWT', { header: { typ: 'JWT' } }, 'allowPlainTyp'],
    ['no typ', { header: { typ: undefined } }, 'allowPlainTyp'],
    ['a top-level sub', { claims: { sub: 'jane' } }, 'allowSub'],
    ['a top-level exp to come', { claims: { exp: NOW_S + 60 } }, 'allowExp'],
    [
      'several names of one event',
      { claims: { events: { 'urn:x': {}, [CAEP.sessionRevoked]: {} } } },
      'allowEventAliases',
    ],
    [
      'milliseconds',
      { claims: event(CAEP.sessionRevoked, { event_timestamp: NOW_S * 1000 }) },
      'millisecondTimestamps',
    ],
  ]
  for (const [what, changes, name] of rows) {
    it(`takes ${what} with ${name} alone, and says so`, async () => {
      const set = await receive(token(changes), { tolerances: { [name]: true } })
      assert.equal(set.quarantine, undefined)
      assert.equal(set.type, CAEP.sessionRevoked)
      assert.deepEqual(set.tolerated, [name])
    })
  }

  it('does not take an exp gone by', async () => {
    const gone = token({ claims: { exp: NOW_S } })
    await assert.rejects(receive(gone, { tolerances: { allowExp: true } }), { err: 'invalid_request' })
  })

  it('turns milliseconds into seconds', async () => {
    const text = token({ claims: event(CAEP.sessionRevoked, { event_timestamp: NOW_S * 1000 + 250 }) })
    const set = await receive(text, { tolerances: { millisecondTimestamps: true } })
    assert.deepEqual(set.claims, { event_timestamp: NOW_S + 0.25 })
  })
})

describe('spellings of drafts', () => {
  it('are read as the final texts write them', async () => {
    const old = event(CAEP.sessionEstablished, {
      amr: 'otp',
      reason_admin: 'Policy',
      subject: { format: 'email' },
    })
    const set = await receive(token({ claims: old }))
    assert.deepEqual(set.claims, { amr: ['otp'], reason_admin: { und: 'Policy' } })
    assert.equal(set.quarantine, undefined)
  })

  it('may have the subject inside the event, which counts only without sub_id', async () => {
    const inside = event(CAEP.sessionRevoked, {
      subject: { subject_type: 'iss-sub', iss: ISSUER, sub: 'joe' },
    })
    const alone = await receive(token({ claims: { sub_id: undefined, ...inside } }))
    assert.deepEqual(alone.subject, { format: 'iss_sub', iss: ISSUER, sub: 'joe' })
    const beside = await receive(token({ claims: inside }))
    assert.deepEqual(beside.subject, { format: 'email', email: 'jane@example.com' })
  })
})
