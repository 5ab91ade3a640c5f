import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidRequest } from '../../src/kernel/errors.js'
import type { ClientTls } from '../../src/outgoing/client-tls.js'
import { describeCertificates, readTlsMaterial } from '../../src/outgoing/tls-material.js'
import { createAuthority, openssl, type Pair, type TestAuthority } from '../support/certificates.js'
import { selfSigned } from './certificate.js'

const DAY_MS = 86_400_000

describe('outgoing: certificates and keys as a person gives them', function () {
  this.timeout(30_000)
  let authority: TestAuthority
  let below: TestAuthority
  let client: Pair
  let server: Pair
  let other: Pair

  before(async () => {
    authority = await createAuthority('Company')
    below = await authority.issueAuthority('Department')
    client = await below.issue({ name: 'hub', usage: 'clientAuth' })
    server = await authority.issue({ name: 'gw.example' })
    other = await authority.issue({ name: 'other', usage: 'clientAuth' })
  })
  after(() => authority.remove())

  const read = (given: ClientTls, nowMs = Date.now()) => readTlsMaterial(given, nowMs)
  function refusal(given: ClientTls, nowMs?: number): string {
    try {
      read(given, nowMs)
    } catch (error) {
      assert.ok(error instanceof InvalidRequest, String(error))
      return error.message
    }
    assert.fail('it was not refused')
  }
  const pair = (cert: string, key: string): ClientTls => ({ certificate: cert, key })
  const bodyOf = (pem: string) => pem.split('\n').slice(1, -2).join('')

  it('takes authorities, a certificate with its chain and key, or both', () => {
    assert.deepEqual(read({ ca: authority.cert }), { ca: authority.cert })
    const both = read({
      ca: authority.cert + below.cert,
      certificate: client.cert + below.cert,
      key: client.key,
    })
    assert.deepEqual(both, {
      ca: authority.cert + below.cert,
      certificate: client.cert + below.cert,
      key: client.key,
    })
  })

  it('keeps nothing of what stands around the blocks', () => {
    const noise = 'Bag Attributes\n    friendlyName: hub\n'
    const tls = read({
      ca: `${noise}${authority.cert.replaceAll('\n', '\r\n')}${noise}`,
      certificate: noise + client.cert,
      key: noise + client.key + noise,
    })
    assert.deepEqual(tls, { ca: authority.cert, certificate: client.cert, key: client.key })
  })

  it('takes keys of the older forms, and keeps them as PKCS#8', async () => {
    const file = join(authority.folder, 'old.key')
    await writeFile(file, client.key)
    const old = await openssl(['ec', '-in', file])
    assert.match(old, /BEGIN EC PRIVATE KEY/)
    assert.equal(read(pair(client.cert, old)).key, client.key)
  })

  it('tells a certificate by its names, its end and its fingerprint', () => {
    const [own, chain] = describeCertificates(client.cert + below.cert)
    assert.deepEqual(
      [own?.subject, own?.issuer, chain?.subject],
      ['CN=hub', 'CN=Department', 'CN=Department'],
    )
    assert.match(own?.fingerprint ?? '', /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/)
    const days = ((own?.notAfter.getTime() ?? 0) - Date.now()) / DAY_MS
    assert.ok(days > 29 && days < 31)
  })

  it('refuses nothing at all, and half a pair', () => {
    assert.match(refusal({}), /^Give ca, or certificate and private_key/)
    assert.match(refusal({ certificate: client.cert }), /belong together/)
    assert.match(refusal({ key: client.key }), /belong together/)
  })

  it('refuses what is no PEM, with how to make it', () => {
    for (const text of ['', 'nonsense', bodyOf(authority.cert), client.key.replaceAll('PRIVATE', 'PUBLIC')]) {
      assert.match(refusal({ ca: text }), /^ca: write PEM.*openssl x509/)
      assert.match(refusal(pair(text, client.key)), /^certificate: write PEM/)
      assert.match(refusal(pair(client.cert, text)), /^private_key: write PEM.*openssl pkey/)
    }
  })

  it('refuses PEM that holds something else, or is cut', () => {
    const cut = authority.cert.replace(/\n[^\n]+\n-----END/, '\n-----END')
    assert.match(refusal({ ca: client.cert + cut }), /^ca: certificate 2 in it cannot be read/)
    const broken = client.key.replace(/\n[^\n]+\n-----END/, '\n-----END')
    assert.match(refusal(pair(client.cert, broken)), /^private_key: it cannot be read/)
  })

  it('refuses a private key where certificates belong', () => {
    assert.match(refusal({ ca: authority.cert + authority.key }), /^ca: there is a private key in it/)
    assert.match(refusal(pair(client.cert + client.key, client.key)), /^certificate: there is a private key/)
  })

  it('refuses several keys, one of another certificate, and one of a certificate that is not first', () => {
    assert.match(refusal(pair(client.cert, client.key + other.key)), /^private_key: give one key/)
    assert.match(refusal(pair(client.cert, other.key)), /^private_key is not the key of the first/)
    assert.match(refusal(pair(below.cert + client.cert, client.key)), /the client’s own certificate first/)
  })

  it('refuses an encrypted key of either form, and says how to take the passphrase off', () => {
    const options = { cipher: 'aes-256-cbc', passphrase: 'secret-phrase' } as const
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    for (const type of ['pkcs8', 'pkcs1'] as const) {
      const key = privateKey.export({ type, format: 'pem', ...options }).toString()
      assert.match(refusal(pair(client.cert, key)), /^private_key: it is encrypted.*openssl pkey/)
    }
  })

  it('refuses a client certificate that has ended, and says when', () => {
    const ended = Date.now() + 31 * DAY_MS
    assert.match(refusal(pair(client.cert, client.key), ended), /^certificate: it ended on 20\d\d-.*Z; give/)
  })

  const beginOf = (cert: string) => Date.parse(new X509Certificate(cert).validFrom)

  it('refuses a client certificate that begins later, and says when, but for a clock that is a little ahead', () => {
    const firstMs = beginOf(client.cert) - 5 * 60_000
    const later = refusal(pair(client.cert, client.key), firstMs - 1)
    assert.match(later, /^certificate: it begins on 20\d\d-.*Z; set it when it is in force/)
    assert.equal(read(pair(client.cert, client.key), firstMs).key, client.key)
  })

  it('refuses authorities of which none is in force yet, and takes one that is among them', () => {
    const firstMs = beginOf(authority.cert) - 5 * 60_000
    const expired = selfSigned('old.example', '200102000000Z').cert
    for (const ca of [authority.cert, expired + authority.cert]) {
      assert.match(refusal({ ca }, firstMs - 1), /^ca: no certificate in it is in force yet/)
      assert.equal(read({ ca }, firstMs).ca, ca)
    }
  })

  it('refuses authorities of which all have ended, and takes one that is in force among them', () => {
    const expired = selfSigned('old.example', '200102000000Z').cert
    assert.match(refusal({ ca: expired }), /^ca: every certificate in it has ended/)
    assert.deepEqual(read({ ca: expired + authority.cert }), { ca: expired + authority.cert })
  })

  it('refuses a certificate for servers, and takes one for anything', async () => {
    assert.match(refusal(pair(server.cert, server.key)), /^certificate: it is not for clients.*clientAuth/)
    const any = selfSigned('hub.example')
    assert.equal(read(pair(any.cert, any.key)).certificate, any.cert)
  })

  it('refuses a bundle without end', () => {
    assert.match(refusal({ ca: authority.cert.repeat(33) }), /^ca: give 32 certificates at most/)
  })

  it('refuses a key that OpenSSL holds for too weak', async () => {
    const files = { cert: join(authority.folder, 'weak.pem'), key: join(authority.folder, 'weak.key') }
    await openssl([
      ...['req', '-x509', '-newkey', 'rsa:512', '-nodes', '-subj', '/CN=weak', '-days', '9'],
      ...['-keyout', files.key, '-out', files.cert],
    ])
    const weak = pair(await readFile(files.cert, 'utf8'), await readFile(files.key, 'utf8'))
    assert.match(refusal(weak), /^OpenSSL does not take these.*2048 bits/)
  })

  it('shows no key in an error', () => {
    const cut = client.key.slice(0, 120)
    for (const given of [pair(client.cert, cut), pair(client.cert, client.key + client.key)]) {
      assert.ok(!refusal(given).includes(bodyOf(client.key).slice(0, 20)))
    }
  })
})
