import assert from 'node:assert/strict'
import { CAEP, RISC } from '../../src/secevent/event-types.js'
import { SetRejected } from '../../src/secevent/parse-set.js'
import type { SetExpectations } from '../../src/secevent/verify-set.js'
import {
  AUDIENCE,
  ISSUER,
  keySource,
  NOW_S,
  otherRsa,
  p256,
  receive,
  smallRsa,
  token,
} from '../secevent/set-fixtures.js'

type Changes = Parameters<typeof token>[0]

/** The RFC 8935 error code, the reason of a quarantine, or `taken`. */
async function outcome(text: string, changes: Partial<SetExpectations> = {}): Promise<string> {
  try {
    return (await receive(text, changes)).quarantine ?? 'taken'
  } catch (error) {
    if (error instanceof SetRejected) return error.err
    throw error
  }
}

const of = (changes: Changes) => outcome(token(changes))
const event = (type: string, payload: unknown) => ({ claims: { events: { [type]: payload } } })

describe('RFC 8417 §2, SSF 1.0 §4 and RFC 8725: SETs that arrive', () => {
  it('are compact tokens of three parts with JSON claims, of bounded size (R-22)', async () => {
    const [head, claims] = token().split('.')
    for (const text of ['', 'a.b', `${token()}.x.y`, `${head}.${claims}`, '{}', `${head}.eA.eA`]) {
      assert.equal(await outcome(text), 'invalid_request', text.slice(0, 40))
    }
    await assert.rejects(receive('a'.repeat(65_537)), { err: 'invalid_request', status: 413 })
  })

  it('have typ secevent+jwt, in any case, with or without application/ (R-23)', async () => {
    for (const typ of ['secevent+jwt', 'SecEvent+JWT', 'application/secevent+jwt']) {
      assert.equal(await of({ header: { typ } }), 'taken')
    }
    for (const typ of [undefined, 'JWT', 'at+jwt', 'secevent', 'application/jwt', 7]) {
      assert.equal(await of({ header: { typ } }), 'invalid_request')
    }
  })

  it('are signed with an algorithm that is registered and fits the key, never with none (R-24)', async () => {
    const es256 = token({ header: { alg: 'ES256' }, key: p256.privateKey })
    assert.equal(await outcome(es256, { keys: keySource(p256.publicKey) }), 'taken')
    assert.equal(
      await outcome(es256, { keys: keySource(p256.publicKey), algorithms: ['RS256'] }),
      'invalid_key',
    )
    assert.equal(await outcome(es256), 'invalid_key', 'the key is an RSA key')
    assert.equal(
      await outcome(token({ key: smallRsa.privateKey }), { keys: keySource(smallRsa.publicKey) }),
      'invalid_key',
    )
    for (const alg of ['none', 'HS256', undefined]) {
      assert.equal(
        await outcome(token({ header: { alg } }), { algorithms: ['none', 'HS256', 'RS256'] }),
        'invalid_key',
      )
    }
  })

  it('are verified with the key of their kid, from the pinned issuer alone (R-25)', async () => {
    assert.equal(await of({ key: otherRsa.privateKey }), 'invalid_key')
    assert.equal(await of({ header: { kid: 'unknown' } }), 'invalid_key')
    assert.equal(await of({ header: { kid: undefined } }), 'invalid_key')
  })

  it('have the issuer that their endpoint expects, character for character (R-26)', async () => {
    assert.equal(await of({ claims: { iss: ISSUER } }), 'taken')
    for (const iss of [ISSUER.slice(0, -1), ISSUER.toUpperCase(), [ISSUER], undefined]) {
      assert.equal(await of({ claims: { iss } }), 'invalid_issuer')
    }
  })

  it('name the hub in aud, as text or in an array (R-27)', async () => {
    for (const aud of [AUDIENCE, [AUDIENCE], ['https://other.example', AUDIENCE]]) {
      assert.equal(await of({ claims: { aud } }), 'taken')
    }
    for (const aud of ['https://other.example', [], undefined, 7, `${AUDIENCE}/`]) {
      assert.equal(await of({ claims: { aud } }), 'invalid_audience')
    }
  })

  it('have neither sub nor exp, unless the transmitter is forgiven that one (R-28)', async () => {
    for (const [claims, mine, other] of [
      [{ sub: 'jane' }, { allowSub: true }, { allowExp: true }],
      [{ exp: NOW_S + 60 }, { allowExp: true }, { allowSub: true }],
    ] as const) {
      assert.equal(await of({ claims }), 'invalid_request')
      assert.equal(await outcome(token({ claims }), { tolerances: other }), 'invalid_request')
      assert.equal(await outcome(token({ claims }), { tolerances: mine }), 'taken')
    }
  })

  it('have jti, iat, and one event that is an object (R-29)', async () => {
    for (const claims of [
      { jti: undefined },
      { iat: undefined },
      { events: undefined },
      { events: {} },
      { events: [] },
      { events: { [CAEP.sessionRevoked]: null } },
      { events: { [CAEP.sessionRevoked]: {}, [RISC.accountDisabled]: {} } },
    ]) {
      assert.equal(await of({ claims }), 'invalid_request', JSON.stringify(claims))
    }
  })

  it('may be as old as they like, and are set aside when they are of the future (R-30)', async () => {
    assert.equal(await of({ claims: { iat: 1 } }), 'taken')
    assert.equal(await of({ claims: { iat: NOW_S + 60 } }), 'taken')
    assert.equal(await of({ claims: { iat: NOW_S + 301 } }), 'iat_in_future')
  })

  it('are set aside, whole, when a member of their subject cannot be read, critical or not (R-31)', async () => {
    const user = { format: 'opaque', id: 'u-1' }
    for (const sub_id of [
      { format: 'complex', user, tenant: { format: 'opaque' } },
      { format: 'complex', user, cluster: 'eu-1' },
      { format: 'complex', user, group: { format: 'aliases', identifiers: [user] } },
      { format: 'opaque' },
      { format: '' },
    ]) {
      assert.equal(await of({ claims: { sub_id } }), 'invalid_subject', JSON.stringify(sub_id))
    }
    assert.equal(await of({ claims: { sub_id: undefined } }), 'missing_subject')
    const read = { format: 'complex', user, cluster: { format: 'catalog', item: 'eu-1' } }
    const set = await receive(token({ claims: { sub_id: read } }))
    assert.deepEqual(set.subject, read, 'a member and a format of their own are kept and sent on')
  })

  it('may have members that nobody knows, and types that nobody knows are set aside (R-32)', async () => {
    const more = { claims: { more: 1, events: { [CAEP.sessionRevoked]: { more: { deep: 1 } } } } }
    assert.equal(await of(more), 'taken')
    assert.equal(await of(event('https://example.com/event', { a: 1 })), 'unknown_type')
  })

  it('are set aside and not refused when their payload is odd (R-33)', async () => {
    const levels = { principal: 'USER', current_level: 'SEVERE' }
    assert.equal(await of(event(CAEP.riskLevelChange, levels)), 'invalid_payload')
    assert.equal(await of(event(CAEP.sessionRevoked, { event_timestamp: NOW_S * 1000 })), 'invalid_payload')
    const recycled = { sub_id: { format: 'opaque', id: 'x' }, events: { [RISC.identifierRecycled]: {} } }
    assert.equal(await of({ claims: recycled }), 'invalid_subject')
  })
})
