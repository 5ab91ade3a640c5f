import assert from 'node:assert/strict'
import { webcrypto } from 'node:crypto'
import type { Subject } from '../../src/secevent/event.js'
import { CAEP, RISC, SCIM, SSF } from '../../src/secevent/event-types.js'
import { mintClaims } from '../../src/secevent/mint.js'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { OLD_SPELLINGS, TOLERANCE_SWITCHES, type Tolerated } from '../../src/secevent/tolerances.js'
import {
  AUDIENCE,
  claims,
  header,
  ISSUER,
  keySource,
  NOW_MS,
  NOW_S,
  p256,
  receive,
  rsa,
  signRaw,
  token,
} from './set-fixtures.js'

const JANE = { format: 'email', email: 'jane@example.com' }
const REASON = { reason_admin: { en: 'Policy' } }
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
    assert.deepEqual(set.claims, { event_timestamp: NOW_S - 1, ...REASON })
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

  it('may have a jti and a txn of 512 characters, and an iat of 0', async () => {
    const long = { jti: 'j'.repeat(512), txn: 't'.repeat(512), iat: 0 }
    const { jti, txn, iatS, quarantine } = await receive(token({ claims: long }))
    assert.deepEqual({ jti, txn, iat: iatS, quarantine }, { ...long, quarantine: undefined })
  })

  it('may have exactly 65,536 bytes', async () => {
    const padded = (inHeader: number, inClaims: number) =>
      token({ header: { pad: 'x'.repeat(inHeader) }, claims: { pad: 'x'.repeat(inClaims) } })
    // Three bytes make four characters, so one part alone cannot have every length.
    const near = Math.floor(((65_536 - padded(0, 0).length) * 3) / 4) - 3
    const texts = [0, 1, 2].flatMap((more) => [0, 1, 2, 3].map((less) => padded(more, near + less)))
    const text = texts.find(({ length }) => length === 65_536)
    assert.ok(text)
    assert.equal((await receive(text)).quarantine, undefined)
  })

  it('has all members of an event whose type leaves the list open, as they came', async () => {
    const members = {
      subject: 'maths',
      reason_admin: 'late',
      amr: 'x',
      event_timestamp: NOW_S,
      data: { active: true },
    }
    const scim = await receive(token({ claims: event(SCIM.putFull, members) }))
    assert.deepEqual([scim.claims, scim.tolerated], [members, []])
    const unknown = await receive(token({ claims: event('https://example.com/event/x', members) }))
    assert.deepEqual([unknown.claims, unknown.tolerated], [members, []])
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

  it('says what is odd about it', async () => {
    const problemsOf = async (changes: Record<string, unknown>) =>
      (await receive(token({ claims: changes }))).problems
    assert.deepEqual(await problemsOf({ sub_id: undefined }), ['The SET has no "sub_id".'])
    assert.deepEqual(await problemsOf(event('urn:x', {})), ['The event type urn:x is not known.'])
    assert.match((await problemsOf({ sub_id: 'jane' })).join(), /subject must be an object/)
  })

  it('is set aside for a reason that is an empty text, which is none', async () => {
    const set = await receive(token({ claims: event(CAEP.sessionRevoked, { reason_admin: '' }) }))
    assert.deepEqual([set.quarantine, set.tolerated], ['invalid_payload', []])
  })

  it('keeps a subject that could be read', async () => {
    const set = await receive(token({ claims: event('urn:x', {}) }))
    assert.deepEqual(set.subject, { format: 'email', email: 'jane@example.com' })
  })
})

const complex = (rest: object) => ({ format: 'complex', user: { format: 'opaque', id: 'u-1' }, ...rest })
const ALL = { format: 'opaque', id: 'ALL' }
const TOKENS_REVOKED = 'https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked'

type Switch = keyof typeof TOLERANCE_SWITCHES

describe('what a transmitter may be forgiven', () => {
  /** What is sent, the switch it needs, and what becomes of it without: refused, set aside, or taken as it stands. */
  const rows: [what: string, changes: Parameters<typeof token>[0], name: Switch, without: string][] = [
    ['a missing kid', { header: { kid: undefined } }, 'allow_missing_kid', 'invalid_key'],
    ['typ JWT', { header: { typ: 'JWT' } }, 'allow_plain_typ', 'invalid_request'],
    ['no typ', { header: { typ: undefined } }, 'allow_plain_typ', 'invalid_request'],
    ['a top-level sub', { claims: { sub: 'jane' } }, 'allow_sub', 'invalid_request'],
    ['a top-level exp to come', { claims: { exp: NOW_S + 60 } }, 'allow_exp', 'invalid_request'],
    [
      'several names of one event',
      { claims: { events: { 'urn:x': {}, [CAEP.sessionRevoked]: REASON } } },
      'allow_event_aliases',
      'invalid_request',
    ],
    [
      'an event_timestamp in milliseconds',
      { claims: event(CAEP.sessionRevoked, { ...REASON, event_timestamp: NOW_S * 1000 }) },
      'millisecond_timestamps',
      'invalid_payload',
    ],
    ['an iat in milliseconds', { claims: { iat: NOW_S * 1000 } }, 'millisecond_timestamps', 'iat_in_future'],
    ['an nbf in milliseconds', { claims: { nbf: NOW_S * 1000 } }, 'millisecond_timestamps', 'iat_in_future'],
    ['a session named ALL', { claims: { sub_id: complex({ session: ALL }) } }, 'session_id_all', 'taken'],
    [
      'tokens-revoked of OAuth',
      { claims: event(TOKENS_REVOKED, REASON) },
      'tokens_revoked_as_session_revoked',
      'unknown_type',
    ],
  ]
  it('lets what tightens access count of several events, else what loosens it, else the first known one', async () => {
    const countsOf = async (...types: string[]) => {
      const events = Object.fromEntries(types.map((type) => [type, {}]))
      const set = await receive(token({ claims: { events } }), { tolerances: { allowEventAliases: true } })
      return set.type
    }
    assert.equal(await countsOf(SCIM.feedAdd, SCIM.createFull), SCIM.createFull)
    assert.equal(await countsOf(SCIM.feedRemove, SCIM.activate, SCIM.deactivate), SCIM.deactivate)
    assert.equal(await countsOf('urn:x', SCIM.feedRemove, SCIM.feedAdd), SCIM.feedRemove)
    assert.equal(await countsOf('urn:x', 'urn:y'), 'urn:x')
  })

  for (const [what, changes, name, without] of rows) {
    it(`takes ${what} with ${name} alone, and says so`, async () => {
      const set = await receive(token(changes), { tolerances: { [TOLERANCE_SWITCHES[name]]: true } })
      assert.equal(set.quarantine, undefined)
      assert.equal(set.type, CAEP.sessionRevoked)
      assert.deepEqual(set.tolerated, [name])
    })

    it(`does not forgive ${what} without ${name}, whatever else is forgiven`, async () => {
      const others = Object.entries(TOLERANCE_SWITCHES).filter(([other]) => other !== name)
      const tolerances = Object.fromEntries(others.map(([, member]) => [member, true]))
      const outcome = await receive(token(changes), { tolerances }).then(
        (set) => set.quarantine ?? 'taken',
        (error: unknown) => (error instanceof SetRejected ? error.err : String(error)),
      )
      assert.equal(outcome, without)
    })
  }

  it('has a row here for each switch', () => {
    assert.deepEqual(
      [...new Set(rows.map(([, , name]) => name))].sort(),
      Object.keys(TOLERANCE_SWITCHES).sort(),
    )
  })

  it('is never an exp gone by, in seconds or in milliseconds', async () => {
    for (const exp of [NOW_S, NOW_S * 1000]) {
      const tolerances = { allowExp: true, millisecondTimestamps: true }
      await assert.rejects(receive(token({ claims: { exp } }), { tolerances }), { err: 'invalid_request' })
    }
  })

  it('turns milliseconds into seconds', async () => {
    const tolerances = { millisecondTimestamps: true }
    const stamped = event(CAEP.sessionRevoked, { event_timestamp: NOW_S * 1000 + 250 })
    const set = await receive(token({ claims: { ...stamped, iat: NOW_S * 1000 } }), { tolerances })
    assert.deepEqual(set.claims, { event_timestamp: NOW_S + 0.25 })
    assert.equal(set.iatS, NOW_S)
    const ahead = await receive(token({ claims: { iat: (NOW_S + 3600) * 1000 } }), { tolerances })
    assert.equal(ahead.quarantine, 'iat_in_future')
  })

  it('leaves times in seconds alone where milliseconds are forgiven, and times that are no numbers', async () => {
    const tolerances = { millisecondTimestamps: true }
    const stamped = (event_timestamp: unknown) => ({
      claims: event(CAEP.sessionRevoked, { ...REASON, event_timestamp }),
    })
    const set = await receive(token(stamped(NOW_S)), { tolerances })
    assert.deepEqual([set.claims.event_timestamp, set.iatS, set.tolerated], [NOW_S, NOW_S, []])
    // The first second of the year 5138 is the first number that is read as milliseconds, of March 1973.
    const first = await receive(token(stamped(100_000_000_000)), { tolerances })
    assert.deepEqual(
      [first.claims.event_timestamp, first.tolerated],
      [100_000_000, ['millisecond_timestamps']],
    )
    const last = await receive(token(stamped(99_999_999_999)), { tolerances })
    assert.deepEqual([last.claims.event_timestamp, last.tolerated], [99_999_999_999, []])
    const text = await receive(token(stamped(String(NOW_S * 1000))), { tolerances })
    assert.deepEqual([text.quarantine, text.tolerated], ['invalid_payload', []])
    await assert.rejects(receive(token({ claims: { iat: String(NOW_S * 1000) } }), { tolerances }), {
      err: 'invalid_request',
    })
  })

  it('takes no other type than tokens-revoked for session-revoked', async () => {
    const tolerances = { tokensRevokedAsSessionRevoked: true }
    for (const type of [CAEP.sessionPresented, RISC.accountEnabled, RISC.sessionsRevoked, SCIM.feedAdd]) {
      const set = await receive(token({ claims: event(type, REASON) }), { tolerances })
      assert.equal(set.type, type)
    }
    const unknown = await receive(token({ claims: event(`${TOKENS_REVOKED}x`, {}) }), { tolerances })
    assert.equal(unknown.quarantine, 'unknown_type')
  })

  it('takes the session ALL out of a subject that says whose sessions it means, and out of no other', async () => {
    const tolerances = { sessionIdAll: true }
    const subjectOf = async (sub_id: object) =>
      (await receive(token({ claims: { sub_id } }), { tolerances })).subject
    const tenant = { format: 'opaque', id: 't-1' }
    assert.deepEqual(await subjectOf(complex({ session: ALL })), complex({}))
    assert.deepEqual(await subjectOf(complex({ session: ALL, tenant })), complex({ tenant }))
    for (const kept of [
      complex({ session: { format: 'opaque', id: 'all' } }),
      complex({ session: { format: 'jwt_id', iss: ISSUER, jti: 'ALL' } }),
      complex({ device: ALL }),
      { format: 'complex', session: ALL },
      ALL,
    ]) {
      assert.deepEqual(await subjectOf(kept), kept)
    }
  })
})

/** What is sent, the member that comes out of it as the final texts write it, and what it is counted as. */
const SPELLINGS: [what: string, changes: Record<string, unknown>, expected: object, counted: Tolerated[]][] =
  [
    [
      'a subject inside the event, when there is no sub_id',
      { sub_id: undefined, ...event(CAEP.sessionRevoked, { ...REASON, subject: JANE }) },
      { subject: JANE, claims: REASON },
      ['subject_in_event'],
    ],
    [
      'a subject inside the event beside sub_id, which alone counts',
      event(CAEP.sessionRevoked, { ...REASON, subject: { format: 'email', email: 'other@example.com' } }),
      { subject: JANE, claims: REASON },
      [],
    ],
    [
      'a SET as the first RISC transmitter sends it',
      {
        sub_id: undefined,
        txn: undefined,
        ...event(RISC.accountDisabled, {
          subject: { subject_type: 'iss-sub', iss: ISSUER, sub: '7375626A656374' },
          reason: 'hijacking',
        }),
      },
      { subject: { format: 'iss_sub', iss: ISSUER, sub: '7375626A656374' }, claims: { reason: 'hijacking' } },
      ['subject_in_event', 'subject_type', 'subject_format'],
    ],
    [
      'claims of an ID token as a subject',
      { sub_id: { subject_type: 'id_token_claims', iss: ISSUER, sub: 'joe', email: 'joe@example.com' } },
      { subject: { format: 'iss_sub', iss: ISSUER, sub: 'joe' } },
      ['subject_type', 'subject_format'],
    ],
    [
      'the e-mail address alone among claims of an ID token',
      { sub_id: { format: 'id-token-claims', email: 'joe@example.com' } },
      { subject: { format: 'email', email: 'joe@example.com' } },
      ['subject_format'],
    ],
    [
      'the format phone',
      { sub_id: { format: 'phone', phone: '+12065550100' } },
      { subject: { format: 'phone_number', phone_number: '+12065550100' } },
      ['subject_format'],
    ],
    [
      'the format jwt-id inside a complex subject without format',
      { sub_id: { session: { format: 'jwt-id', iss: ISSUER, jti: 'j' } } },
      { subject: { format: 'complex', session: { format: 'jwt_id', iss: ISSUER, jti: 'j' } } },
      ['complex_without_format', 'subject_format'],
    ],
    ['a txn that is a number', { txn: 8675309 }, { txn: '8675309' }, ['numeric_txn']],
    ['a txn that cannot join anything', { txn: 'a\nb' }, { txn: undefined }, ['unusable_txn']],
    [
      'an amr that is text',
      event(CAEP.sessionEstablished, { amr: 'otp' }),
      { claims: { amr: ['otp'] } },
      ['text_amr'],
    ],
    [
      'reasons that are text',
      event(CAEP.sessionRevoked, { reason_admin: 'Policy', reason_user: 'Sorry' }),
      { claims: { reason_admin: { und: 'Policy' }, reason_user: { und: 'Sorry' } } },
      ['text_reason'],
    ],
    [
      'a revocation without the reason that the interoperability profile demands',
      event(CAEP.sessionRevoked, {}),
      { claims: {} },
      ['missing_reason_admin'],
    ],
    [
      'the type token-claims-changed',
      event('https://schemas.openid.net/secevent/caep/event-type/token-claims-changed', {
        claims: { a: 'b' },
      }),
      { type: CAEP.tokenClaimsChange, claims: { claims: { a: 'b' } } },
      ['event_type'],
    ],
    [
      'a verification of the sse drafts',
      {
        sub_id: { format: 'opaque', id: 's-1' },
        ...event('https://schemas.openid.net/secevent/sse/event-type/verification', { state: 'x' }),
      },
      { type: SSF.verification, claims: { state: 'x' } },
      ['event_type'],
    ],
    [
      'a stream-updated of the sse drafts',
      {
        sub_id: { format: 'opaque', id: 's-1' },
        ...event('https://schemas.openid.net/secevent/sse/event-type/stream-updated', { status: 'paused' }),
      },
      { type: SSF.streamUpdated },
      ['event_type'],
    ],
    [
      'a verification of early RISC',
      {
        sub_id: { format: 'opaque', id: 's-1' },
        ...event('https://schemas.openid.net/secevent/risc/event-type/verification', { state: 'x' }),
      },
      { type: SSF.verification },
      ['event_type'],
    ],
  ]

describe('spellings of drafts', () => {
  for (const [what, changes, expected, counted] of SPELLINGS) {
    it(`include ${what}`, async () => {
      const set = await receive(token({ claims: changes }))
      assert.equal(set.quarantine, undefined, set.problems.join(' '))
      const found = set as unknown as Record<string, unknown>
      for (const [member, value] of Object.entries(expected)) assert.deepEqual(found[member], value)
      assert.deepEqual(set.tolerated, counted)
    })
  }

  it('all have a row here', () => {
    const counted = SPELLINGS.flatMap(([, , , names]) => names)
    assert.deepEqual([...new Set(counted)].sort(), [...OLD_SPELLINGS].sort())
  })

  it('go out as the final texts write them', async () => {
    for (const [what, changes] of SPELLINGS) {
      const { type, subject, claims, txn } = await receive(token({ claims: changes }))
      const event = { type, subject: subject as Subject, claims, txn: txn ?? 'cause-1', acceptedAtMs: NOW_MS }
      const minted = mintClaims({ event, issuer: ISSUER, audience: AUDIENCE, jti: 'set-2' })
      const again = await receive(token({ claims: minted }))
      assert.equal(again.quarantine, undefined, what)
      assert.deepEqual(
        again.tolerated.filter((name) => name !== 'missing_reason_admin'),
        [],
        what,
      )
    }
  })
})
