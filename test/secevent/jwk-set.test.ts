import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { canVerify, createJwkSet, InvalidJwkSet } from '../../src/secevent/jwk-set.js'
import { NOW_MS, NOW_S, otherRsa, p256, p384, receive, rsa, smallRsa, token } from './set-fixtures.js'

const now = () => NOW_MS
const jwk = (key: KeyObject, more: object = {}) => ({
  ...key.export({ format: 'jwk' }),
  kid: 'idp-1',
  ...more,
})
const setOf = (...keys: unknown[]) => createJwkSet({ keys }, now)

describe('createJwkSet', () => {
  it('finds the key of a kid and verifies with it', async () => {
    const keys = setOf(
      jwk(otherRsa.publicKey, { kid: 'idp-0' }),
      jwk(rsa.publicKey, { use: 'sig', alg: 'RS256' }),
    )
    assert.equal((await receive(token(), { keys })).jti, 'set-1')
    assert.ok(keys.has('idp-1') && !keys.has('idp-2'))
  })

  it('imports a key once', async () => {
    const keys = setOf(jwk(rsa.publicKey))
    assert.equal(
      await keys.find({ kid: 'idp-1', alg: 'RS256' }),
      await keys.find({ kid: 'idp-1', alg: 'RS256' }),
    )
  })

  it('finds the only key without a kid, and none when there are two', async () => {
    assert.ok(await setOf(jwk(rsa.publicKey)).find({ alg: 'RS256' }))
    const two = setOf(jwk(rsa.publicKey), jwk(otherRsa.publicKey, { kid: 'idp-2' }))
    assert.equal(await two.find({ alg: 'RS256' }), undefined)
  })

  it('passes over keys it cannot read, as issuers publish new kinds beside the old', async () => {
    const strange = [
      { kty: 'AKP', kid: 'pq', alg: 'ML-DSA-44', pub: 'AA' },
      { kty: 'RSA', kid: 'bad' },
      null,
      'x',
    ]
    const keys = setOf(...strange, jwk(rsa.publicKey))
    assert.ok(await keys.find({ kid: 'idp-1', alg: 'RS256' }))
    assert.equal(await keys.find({ kid: 'bad', alg: 'RS256' }), undefined)
  })

  const refused: [string, ReturnType<typeof setOf>, string?][] = [
    ['two keys under one kid', setOf(jwk(rsa.publicKey), jwk(otherRsa.publicKey))],
    ['a key for encryption', setOf(jwk(rsa.publicKey, { use: 'enc' }))],
    ['a key for another algorithm', setOf(jwk(rsa.publicKey, { alg: 'PS256' }))],
    ['a key whose operations leave out verify', setOf(jwk(rsa.publicKey, { key_ops: ['encrypt'] }))],
    ['an expired key', setOf(jwk(rsa.publicKey, { exp: NOW_S }))],
    ['a revoked key', setOf(jwk(rsa.publicKey, { revoked: { revoked_at: 1 } }))],
    ['a private key', setOf(jwk(rsa.privateKey))],
    ['a symmetric key', setOf({ kty: 'oct', kid: 'idp-1', k: 'c2VjcmV0' })],
    ['a key of 1024 bits', setOf(jwk(smallRsa.publicKey))],
    ['an EC key for RS256', setOf(jwk(p256.publicKey))],
    ['a P-384 key for ES256', setOf(jwk(p384.publicKey)), 'ES256'],
  ]
  for (const [what, keys, alg = 'RS256'] of refused) {
    it(`lets no SET be verified with ${what}`, async () => {
      const privateKey =
        alg === 'ES256' ? p384.privateKey : what.includes('1024') ? smallRsa.privateKey : rsa.privateKey
      await assert.rejects(receive(token({ header: { alg }, key: privateKey }), { keys }), {
        err: 'invalid_key',
      })
    })
  }

  it('drops a key when its time comes', async () => {
    let nowMs = NOW_MS
    const keys = createJwkSet({ keys: [jwk(rsa.publicKey, { exp: NOW_S + 1 })] }, () => nowMs)
    assert.ok(await keys.find({ kid: 'idp-1', alg: 'RS256' }))
    nowMs += 1000
    assert.equal(await keys.find({ kid: 'idp-1', alg: 'RS256' }), undefined)
  })

  for (const exp of ['1', null, true]) {
    it(`does not read ${JSON.stringify(exp)} as the end of a key`, async () => {
      assert.ok(await setOf(jwk(rsa.publicKey, { exp })).find({ kid: 'idp-1', alg: 'RS256' }))
    })
  }

  for (const value of [undefined, null, [], {}, { keys: {} }, { keys: Array(257).fill({}) }]) {
    it(`refuses ${String(JSON.stringify(value)).slice(0, 20)} as a JWK Set`, () => {
      assert.throws(() => createJwkSet(value, now), InvalidJwkSet)
    })
  }

  it('says what a JWK Set must be', () => {
    assert.throws(() => createJwkSet({}, now), {
      code: 'ERR_INVALID_JWK_SET',
      status: 400,
      message: 'A JWK Set must be an object with a "keys" array.',
    })
    assert.throws(() => createJwkSet({ keys: Array(257).fill({}) }, now), { message: /at most 256 keys/ })
    assert.ok(createJwkSet({ keys: Array(256).fill({ kty: 'OKP' }) }, now))
  })

  const unusable: [string, unknown][] = [
    ['an RSA key without n and e', { kty: 'RSA', kid: 'idp-1', use: 'sig', alg: 'RS256' }],
    ['an RSA key without e', { ...jwk(rsa.publicKey), e: undefined }],
    ['a point that is on no curve', { ...jwk(p256.publicKey), x: 'AA', y: 'AA' }],
    ['a key of 1024 bits', jwk(smallRsa.publicKey)],
    ['a key for encryption', jwk(rsa.publicKey, { use: 'enc' })],
    ['an expired key', jwk(rsa.publicKey, { exp: NOW_S })],
    ['a kind that nobody knows', { kty: 'AKP', kid: 'pq', alg: 'ML-DSA-44', pub: 'AA' }],
    ['no key', null],
  ]
  for (const [what, key] of unusable) {
    it(`cannot verify with ${what}, and can with a good one beside it`, async () => {
      assert.equal(await canVerify({ keys: [key] }, now), false)
      assert.equal(await canVerify({ keys: [key, jwk(p256.publicKey)] }, now), true)
    })
  }

  it('has only keys that are public and not revoked', () => {
    const key = jwk(rsa.publicKey)
    const others = [
      { kty: 'oct', k: 'AAAA', kid: 'idp-2' },
      { ...key, d: 'AQAB', kid: 'idp-2' },
      { ...key, revoked: {}, kid: 'idp-2' },
      null,
      'key',
      [],
    ]
    const keys = createJwkSet({ keys: [...others, key] }, now)
    assert.deepEqual([keys.has('idp-1'), keys.has('idp-2')], [true, false])
  })
})
