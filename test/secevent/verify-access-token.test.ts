import assert from 'node:assert/strict'
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign, webcrypto } from 'node:crypto'
import { verifyAccessToken } from '../../src/secevent/verify-access-token.js'
import { type KeySource, KeysUnavailable } from '../../src/secevent/verify-set.js'
import { AUDIENCE, b64, ISSUER, NOW_MS, NOW_S, otherRsa, p256, p384, rsa, smallRsa } from './set-fixtures.js'

const ed25519 = generateKeyPairSync('ed25519')

interface Token {
  header?: Record<string, unknown>
  claims?: Record<string, unknown>
  key?: KeyObject
}

/** With node:crypto, for a JWT library makes none of the bad ones. */
function signed({ header = {}, claims = {}, key = rsa.privateKey }: Token = {}): string {
  const protectedHeader = { alg: 'RS256', typ: 'at+jwt', kid: 'k', ...header }
  const payload = { iss: ISSUER, aud: AUDIENCE, sub: 'jane', exp: NOW_S + 60, ...claims }
  const content = `${b64(JSON.stringify(protectedHeader))}.${b64(JSON.stringify(payload))}`
  return `${content}.${signatureOf(content, String(protectedHeader.alg), key)}`
}

function signatureOf(content: string, alg: string, key: KeyObject): string {
  if (alg === 'HS256') {
    const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' })
    return createHmac('sha256', pem).update(content).digest('base64url')
  }
  const digest = alg === 'EdDSA' || alg === 'Ed25519' ? null : `sha${alg.slice(-3)}`
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
  const input = { key, dsaEncoding: 'ieee-p1363', ...(alg.startsWith('PS') ? pss : {}) } as const
  return b64(sign(digest, Buffer.from(content), input))
}

const holding = (key: KeyObject | undefined): KeySource => ({ find: async () => key })
const verify = (token: string, keys: KeySource = holding(rsa.publicKey)) =>
  verifyAccessToken(token, { issuer: ISSUER, audience: AUDIENCE, keys, nowMs: NOW_MS })

describe('an access token of another authorization server', () => {
  it('is believed, and its claims come out as they are', async () => {
    assert.deepEqual(await verify(signed({ claims: { scope: 'ssf.read', client_id: 'c' } })), {
      iss: ISSUER,
      aud: AUDIENCE,
      sub: 'jane',
      exp: NOW_S + 60,
      scope: 'ssf.read',
      client_id: 'c',
    })
  })

  it('may name further audiences', async () => {
    assert.ok(await verify(signed({ claims: { aud: ['urn:x', AUDIENCE] } })))
  })

  const pairs = { RS256: rsa, PS256: rsa, ES256: p256, EdDSA: ed25519 }
  for (const [alg, { privateKey, publicKey }] of Object.entries(pairs)) {
    it(`may be signed with ${alg}`, async () => {
      assert.ok(await verify(signed({ header: { alg }, key: privateKey }), holding(publicKey)))
    })
  }

  for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'JWT', 'jwt', undefined]) {
    it(`may be of type ${typ}`, async () => assert.ok(await verify(signed({ header: { typ } }))))
  }

  const notBelieved: [what: string, token: Token, publicKey?: KeyObject][] = [
    ['another issuer', { claims: { iss: 'https://evil.example.com/' } }],
    ['the issuer without its slash', { claims: { iss: ISSUER.slice(0, -1) } }],
    ['no issuer', { claims: { iss: undefined } }],
    ['another audience', { claims: { aud: 'https://else.example.com' } }],
    ['no audience', { claims: { aud: undefined } }],
    ['no exp', { claims: { exp: undefined } }],
    ['an exp that is text', { claims: { exp: String(NOW_S + 60) } }],
    ['the type of a SET', { header: { typ: 'secevent+jwt' } }],
    ['the type of a logout token', { header: { typ: 'logout+jwt' } }],
    ['an empty type', { header: { typ: '' } }],
    ['the signature of another key', { key: otherRsa.privateKey }],
    ['RS512, which is not on the list', { header: { alg: 'RS512' } }],
    ['ES384, which is not on the list', { header: { alg: 'ES384' }, key: p384.privateKey }, p384.publicKey],
    [
      'Ed25519, which is not on the list',
      { header: { alg: 'Ed25519' }, key: ed25519.privateKey },
      ed25519.publicKey,
    ],
    ['an HMAC keyed with the public key', { header: { alg: 'HS256' } }],
    ['a key that is too short', { key: smallRsa.privateKey }, smallRsa.publicKey],
    ['a key of another kind at the issuer', {}, p256.publicKey],
    ['a private key as that of the issuer', {}, rsa.privateKey],
    ['an unknown critical header', { header: { crit: ['x'], x: 1 } }],
  ]
  for (const [what, token, publicKey = rsa.publicKey] of notBelieved) {
    it(`is not believed with ${what}`, async () => {
      assert.equal(await verify(signed(token), holding(publicKey)), undefined)
    })
  }

  it('is not believed when it is unsigned or no token at all', async () => {
    const claims = b64(JSON.stringify({ iss: ISSUER, aud: AUDIENCE, exp: NOW_S + 60 }))
    for (const text of [
      '',
      'x',
      'a.b.c',
      `${b64('{"alg":"none","typ":"at+jwt"}')}.${claims}.`,
      `${b64('{"typ":"at+jwt","kid":"k"}')}.${claims}.${b64('x')}`,
      `${signed()}x`,
    ]) {
      assert.equal(await verify(text), undefined, text)
    }
  })

  it('is not believed with a key that was imported for another algorithm', async () => {
    const key = await webcrypto.subtle.importKey(
      'jwk',
      rsa.publicKey.export({ format: 'jwk' }),
      { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
      true,
      ['verify'],
    )
    const keys = { find: async () => key }
    assert.ok(await verify(signed(), keys))
    assert.equal(await verify(signed({ header: { alg: 'PS256' } }), keys), undefined)
  })

  it('may be five seconds past its end or before its beginning, and no more', async () => {
    assert.ok(await verify(signed({ claims: { exp: NOW_S - 4 } })))
    assert.equal(await verify(signed({ claims: { exp: NOW_S - 5 } })), undefined)
    assert.ok(await verify(signed({ claims: { nbf: NOW_S + 5 } })))
    assert.equal(await verify(signed({ claims: { nbf: NOW_S + 6 } })), undefined)
  })

  it('asks for its key by kid and algorithm, and by algorithm alone when it names none', async () => {
    const asked: unknown[] = []
    const keys = {
      async find(wanted: object) {
        asked.push(wanted)
        return undefined
      },
    }
    assert.equal(await verify(signed(), keys), undefined)
    assert.equal(await verify(signed({ header: { kid: undefined } }), keys), undefined)
    assert.deepEqual(asked, [{ alg: 'RS256', kid: 'k' }, { alg: 'RS256' }])
  })

  it('is not decided on while the keys cannot be had', async () => {
    const away: KeySource = {
      async find() {
        throw new KeysUnavailable('Keys cannot be fetched now; try again.')
      },
    }
    await assert.rejects(verify(signed(), away), { code: 'ERR_KEYS_UNAVAILABLE' })
  })

  it('lets a fault of ours through, and does not take it for a bad token', async () => {
    const broken: KeySource = {
      async find() {
        throw new RangeError('a fault')
      },
    }
    await assert.rejects(verify(signed(), broken), RangeError)
  })
})
