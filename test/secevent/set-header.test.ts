import assert from 'node:assert/strict'
import { createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { checkHeader, checkKey, SET_ALGORITHMS } from '../../src/secevent/set-header.js'
import type { Tolerated } from '../../src/secevent/tolerances.js'

const curve = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).publicKey
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

const KEYS: Record<string, KeyObject> = {
  rsa: rsa.publicKey,
  'rsa-pss': generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey,
  'P-256': curve('P-256'),
  'P-384': curve('P-384'),
  'P-521': curve('P-521'),
  secp256k1: curve('secp256k1'),
  ed25519: generateKeyPairSync('ed25519').publicKey,
  x25519: generateKeyPairSync('x25519').publicKey,
  'a private key': rsa.privateKey,
  'a secret': createSecretKey(Buffer.alloc(32, 1)),
}

/** RFC 7518 §3.1 and RFC 8037 §3.1: the keys that each algorithm may be used with. */
const FITTING: Record<string, string[]> = {
  RS256: ['rsa'],
  RS384: ['rsa'],
  RS512: ['rsa'],
  PS256: ['rsa', 'rsa-pss'],
  PS384: ['rsa', 'rsa-pss'],
  PS512: ['rsa', 'rsa-pss'],
  ES256: ['P-256'],
  ES384: ['P-384'],
  ES512: ['P-521'],
  EdDSA: ['ed25519'],
  Ed25519: ['ed25519'],
}

const refusal = (check: () => unknown): SetRejected => {
  try {
    check()
  } catch (error) {
    assert.ok(error instanceof SetRejected)
    return error
  }
  return assert.fail('nothing was refused')
}

describe('the header of a SET', () => {
  const check = (header: object, algorithms = ['RS256'], tolerances = {}, tolerated = new Set<Tolerated>()) =>
    checkHeader({ typ: 'secevent+jwt', alg: 'RS256', kid: 'k', ...header }, algorithms, tolerances, tolerated)

  it('gives algorithm and key name, and what was offered and ignored', () => {
    assert.deepEqual(check({}), { alg: 'RS256', kid: 'k', ignored: [] })
    const offers = { jku: 'https://x.test', jwk: {}, x5u: 'https://y.test', x5c: ['z'] }
    assert.deepEqual(check(offers).ignored, ['jku', 'jwk', 'x5u', 'x5c'])
  })

  for (const member of ['crit', 'b64', 'zip']) {
    it(`must not have ${member}, whatever its value`, () => {
      for (const value of [[], false, '', null]) {
        const { err, message } = refusal(() => check({ [member]: value }))
        assert.equal(err, 'invalid_request')
        assert.match(message, new RegExp(`"${member}"`))
      }
    })
  }

  it('must name an algorithm that the transmitter was registered with, and that is in the table', () => {
    for (const alg of [undefined, 1, '', 'rs256', 'ES256', 'none', 'HS256', 'toString']) {
      const { err, message } = refusal(() => check({ alg }))
      assert.equal(err, 'invalid_key')
      assert.equal(message, 'The SET must be signed with RS256.')
    }
    for (const alg of ['none', 'HS256', 'toString'])
      assert.equal(refusal(() => check({ alg }, [alg])).err, 'invalid_key')
    assert.match(refusal(() => check({ alg: 'x' }, ['RS256', 'ES256'])).message, /with RS256 or ES256\.$/)
    for (const alg of SET_ALGORITHMS) assert.equal(check({ alg }, [alg]).alg, alg)
  })

  it('must name its key in 1 to 512 characters', () => {
    assert.equal(check({ kid: 'k'.repeat(512) }).kid?.length, 512)
    for (const kid of ['', 'k'.repeat(513), 7, null, ['k']]) {
      const { err, message } = refusal(() => check({ kid }))
      assert.equal(err, 'invalid_key')
      assert.match(message, /1 to 512 characters/)
    }
  })

  it('may leave the key unnamed only with the tolerance, which is then told', () => {
    assert.match(refusal(() => check({ kid: undefined })).message, /must name its key in "kid"/)
    const tolerated = new Set<Tolerated>()
    const tolerances = { allowMissingKid: true }
    assert.deepEqual(check({ kid: undefined }, ['RS256'], tolerances, tolerated), {
      alg: 'RS256',
      ignored: [],
    })
    assert.deepEqual([...tolerated], ['allow_missing_kid'])
    assert.equal(check({}, ['RS256'], tolerances).kid, 'k')
  })

  it('says by its type that it is a SET, by the rule for media types', () => {
    for (const typ of [
      'secevent+jwt',
      'SecEvent+JWT',
      'application/secevent+jwt',
      'APPLICATION/SECEVENT+JWT',
    ]) {
      assert.equal(check({ typ }).alg, 'RS256')
    }
    for (const typ of [undefined, 'jwt', 'JWT', 'at+jwt', 'x/secevent+jwt', '', 5, ['secevent+jwt']]) {
      const { err, message } = refusal(() => check({ typ }))
      assert.equal(err, 'invalid_request')
      assert.match(message, /"typ": "secevent\+jwt"/)
    }
  })

  it('may have no type or a plain one only with the tolerance, and never another', () => {
    for (const typ of [undefined, 'JWT', 'jwt']) {
      const tolerated = new Set<Tolerated>()
      assert.equal(check({ typ }, ['RS256'], { allowPlainTyp: true }, tolerated).alg, 'RS256')
      assert.deepEqual([...tolerated], ['allow_plain_typ'])
    }
    for (const typ of ['at+jwt', 'logout+jwt', '', 5])
      refusal(() => check({ typ }, ['RS256'], { allowPlainTyp: true }))
    const tolerated = new Set<Tolerated>()
    check({}, ['RS256'], { allowPlainTyp: true }, tolerated)
    assert.equal(tolerated.size, 0)
  })
})

describe('the key of a SET', () => {
  it('has a row in this table for every algorithm', () => {
    assert.deepEqual(Object.keys(FITTING), SET_ALGORITHMS)
  })

  for (const [alg, fitting] of Object.entries(FITTING)) {
    it(`fits ${alg} when it is ${fitting.join(' or ')}, and no other kind does`, () => {
      for (const [kind, key] of Object.entries(KEYS)) {
        if (fitting.includes(kind)) checkKey(key, alg)
        else assert.equal(refusal(() => checkKey(key, alg)).err, 'invalid_key', kind)
      }
    })
  }

  it('says which of kind, curve and size is wrong', () => {
    const said = (key: KeyObject | undefined, alg: string) =>
      refusal(() => checkKey(key as KeyObject, alg)).message
    assert.match(said(KEYS.ed25519, 'RS256'), /not a public key for RS256/)
    assert.match(said(KEYS['a private key'], 'RS256'), /not a public key for RS256/)
    assert.match(said(KEYS['P-384'], 'ES256'), /on the wrong curve for ES256/)
    assert.match(said(KEYS.rsa, 'HS256'), /not a public key for HS256/)
  })

  it('has 2,048 bits at least when it is RSA', () => {
    for (const type of ['rsa', 'rsa-pss'] as const) {
      const { publicKey } =
        type === 'rsa'
          ? generateKeyPairSync('rsa', { modulusLength: 2040 })
          : generateKeyPairSync('rsa-pss', { modulusLength: 2040 })
      const { err, message } = refusal(() => checkKey(publicKey, 'PS256'))
      assert.equal(err, 'invalid_key')
      assert.match(message, /at least 2048 bits/)
    }
  })
})
