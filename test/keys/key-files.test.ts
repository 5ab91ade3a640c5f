import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { StartupError } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createKeyWatch, readKeyFiles } from '../../src/keys/key-watch.js'
import { waitUntil } from '../support/wait.js'

const pem = (key: KeyObject) => key.export({ format: 'pem', type: 'pkcs8' }) as string
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).privateKey
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey

describe('keys: SIGNING_KEY_FILES', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'firebreak-keys-'))
  after(() => rmSync(folder, { recursive: true }))
  const file = (name: string, text: string) => {
    writeFileSync(path.join(folder, name), text)
    return path.join(folder, name)
  }

  it('reads an RSA key for RS256 and a P-256 key for ES256, each named by its thumbprint', () => {
    const key = ec('P-256')
    const [first, second] = readKeyFiles([file('rsa', pem(rsa(2048))), file('ec', pem(key))])
    assert.equal(first?.alg, 'RS256')
    assert.equal(second?.alg, 'ES256')
    const { crv, kty, x, y } = key.export({ format: 'jwk' })
    // RFC 7638 §3: the required members in the order of their names.
    const named = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
    assert.equal(second?.kid, named)
    assert.ok(!('d' in (second?.publicJwk ?? {})))
  })

  const bad: [string, () => string[], RegExp][] = [
    ['no key', () => [file('none', 'hello')], /no private key/],
    ['an empty file', () => [file('empty', '')], /no private key/],
    ['a file that is not there', () => [path.join(folder, 'gone')], /cannot read/],
    ['a folder', () => [folder], /cannot read/],
    ['an RSA key of 1024 bits', () => [file('weak', pem(rsa(1024)))], /1024 bits/],
    ['a key on another curve', () => [file('p384', pem(ec('P-384')))], /another kind \(secp384r1\)/],
    [
      'an Ed25519 key',
      () => [file('ed', pem(generateKeyPairSync('ed25519').privateKey))],
      /another kind \(ed25519\)/,
    ],
    [
      'an encrypted key',
      () => {
        const options = { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' } as const
        return [file('locked', ec('P-256').export(options) as string)]
      },
      /passphrase/,
    ],
    [
      'two keys of one kind',
      () => [file('one', pem(ec('P-256'))), file('two', pem(ec('P-256')))],
      /two files hold keys for ES256/,
    ],
  ]
  for (const [what, files, message] of bad) {
    it(`refuses ${what} in one line that names the setting`, () => {
      assert.throws(
        () => readKeyFiles(files()),
        (error) =>
          error instanceof StartupError &&
          /^SIGNING_KEY_FILES: [^\n]+$/.test(error.message) &&
          message.test(error.message),
      )
    })
  }

  it('takes up a replaced file, and says in readiness when one turned bad', async () => {
    const name = file('live', pem(ec('P-256')))
    const taken: string[] = []
    const watch = createKeyWatch({
      keys: { refresh: async () => false },
      rotation: { keepUp: async () => false, bringIn: async ({ kid }) => void taken.push(kid) },
      files: [name],
      leadMs: 40,
      logger: silentLogger,
    })
    await watch.start()
    try {
      await waitUntil('the first key', () => taken.length > 0)
      file('live', pem(ec('P-256')))
      await waitUntil('the second key', () => new Set(taken).size === 2)
      file('live', 'cut off')
      await waitUntil('the warning', () => watch.health().reason?.includes('SIGNING_KEY_FILES'))
      assert.equal(watch.health().ok, true)
      file('live', pem(ec('P-256')))
      await waitUntil('the third key', () => new Set(taken).size === 3)
      await waitUntil('no warning', () => watch.health().reason === undefined)
    } finally {
      await watch.stop()
    }
  })
})
