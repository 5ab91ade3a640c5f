import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { compactVerify, decodeProtectedHeader } from 'jose'
import { createSetSigner } from '../../src/secevent/sign.js'
import { otherRsa, p256, p384, rsa, smallRsa } from './set-fixtures.js'

describe('createSetSigner', () => {
  for (const [alg, pair] of [
    ['RS256', rsa],
    ['ES256', p256],
  ] as const) {
    it(`makes ${alg} signatures that a JWT library verifies`, async () => {
      const signer = createSetSigner({ kid: 'k1', alg, privateKey: pair.privateKey })
      const compact = await signer.sign({ iss: 'https://h', umlaut: 'ü' })
      const { payload } = await compactVerify(compact, createPublicKey(pair.privateKey), {
        algorithms: [alg],
      })
      assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), { iss: 'https://h', umlaut: 'ü' })
      assert.deepEqual(decodeProtectedHeader(compact), { alg, typ: 'secevent+jwt', kid: 'k1' })
    })
  }

  it('signs many at once, each its own claims', async () => {
    const signer = createSetSigner({ kid: 'k1', alg: 'ES256', privateKey: p256.privateKey })
    const all = await Promise.all(Array.from({ length: 32 }, (_, index) => signer.sign({ index })))
    for (const [index, compact] of all.entries()) {
      const { payload } = await compactVerify(compact, p256.publicKey)
      assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), { index })
    }
  })

  const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
  const unfit = [
    ['a short RSA key', 'RS256', smallRsa.privateKey],
    ['a public key', 'RS256', rsa.publicKey],
    ['an EC key', 'RS256', p256.privateKey],
    ['a key for RSA-PSS alone', 'RS256', pss.privateKey],
    ['an Ed25519 key', 'ES256', generateKeyPairSync('ed25519').privateKey],
    ['an RSA key', 'ES256', otherRsa.privateKey],
    ['a P-384 key', 'ES256', p384.privateKey],
  ] as const
  for (const [what, alg, privateKey] of unfit) {
    it(`refuses ${what} for ${alg}, naming the key`, () => {
      assert.throws(() => createSetSigner({ kid: 'k9', alg, privateKey }), {
        code: 'ERR_STARTUP',
        message: /k9/,
      })
    })
  }
})
