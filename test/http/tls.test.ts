import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { Agent, get } from 'node:https'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { createHttpServer, type HttpServer } from '../../src/http/server.js'
import { createTlsWatch, readTlsFiles } from '../../src/http/tls-files.js'
import { StartupError } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import type { Worker } from '../../src/kernel/worker.js'
import { waitUntil } from '../support/wait.js'

const openssl = (words: string[]) => promisify(execFile)('openssl', words)

/** A self-signed pair in a folder of its own, as `cert.pem` and `key.pem`. */
async function makePair(folder: string, name: string, days = '30'): Promise<string> {
  const place = path.join(folder, name)
  await mkdir(place)
  await openssl([
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', days],
    ...['-keyout', path.join(place, 'key.pem'), '-out', path.join(place, 'cert.pem')],
    ...['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'],
  ])
  return place
}

const filesIn = (place: string) => ({
  certFile: path.join(place, 'cert.pem'),
  keyFile: path.join(place, 'key.pem'),
})

describe('http: TLS', () => {
  let folder: string
  let server: HttpServer
  let watch: Worker
  let metrics = createMetrics()
  const open: TLSSocket[] = []

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'firebreak-tls-'))
    await Promise.all(['first', 'second', 'third'].map((name) => makePair(folder, name)))
    await makePair(folder, 'brief', '1')
  })
  after(() => rm(folder, { recursive: true }))

  /** Serves what the link `live` leads to, as Kubernetes mounts a secret. */
  beforeEach(async () => {
    await rm(path.join(folder, 'live'), { force: true })
    await symlink('first', path.join(folder, 'live'))
    const files = filesIn(path.join(folder, 'live'))
    const loaded = readTlsFiles(files)
    metrics = createMetrics()
    server = createHttpServer({
      host: '127.0.0.1',
      port: 0,
      app: (_req, res) => void res.end('app'),
      tls: loaded,
      logger: silentLogger,
    })
    await server.start()
    const apply = server.replaceTls
    watch = createTlsWatch({ files, loaded, apply, metrics, logger: silentLogger, everyMs: 20 })
    await watch.start()
  })
  afterEach(async () => {
    for (const socket of open.splice(0)) socket.destroy()
    await watch.stop()
    await server.stop()
  })

  async function handshake(options: object = {}): Promise<TLSSocket> {
    const socket = connect({
      port: server.port(),
      host: '127.0.0.1',
      rejectUnauthorized: false,
      // Else a client of today would not even offer the old versions.
      ciphers: 'DEFAULT:@SECLEVEL=0',
      ...options,
    })
    open.push(socket)
    await once(socket, 'secureConnect')
    return socket
  }
  const served = async () => (await handshake()).getPeerCertificate().subject.CN
  /** In one step, as a link is replaced. */
  async function turnTo(name: string): Promise<void> {
    await symlink(name, path.join(folder, 'next'))
    await rename(path.join(folder, 'next'), path.join(folder, 'live'))
  }
  const metric = async (name: string) =>
    Number(new RegExp(`^${name} (.*)$`, 'm').exec(await metrics.render())?.[1])

  for (const version of ['TLSv1', 'TLSv1.1'] as const) {
    it(`refuses to speak ${version}`, async () => {
      await assert.rejects(
        handshake({ minVersion: version, maxVersion: version }),
        /alert protocol version|protocol_version|unsupported protocol/,
      )
    })
  }

  it('speaks TLS 1.2 with who has no better, with forward secrecy and authenticated encryption', async () => {
    const socket = await handshake({ maxVersion: 'TLSv1.2' })
    assert.equal(socket.getProtocol(), 'TLSv1.2')
    assert.match(socket.getCipher().name, /^ECDHE-.*(GCM|POLY1305)/)
    for (const ciphers of ['AES128-SHA256', 'ECDHE-ECDSA-AES128-SHA256', 'AES128-GCM-SHA256']) {
      await assert.rejects(handshake({ maxVersion: 'TLSv1.2', ciphers }), /handshake failure/)
    }
  })

  it('chooses TLS 1.3 when it is offered', async () => {
    assert.equal((await handshake()).getProtocol(), 'TLSv1.3')
  })

  it('serves a replaced certificate to new connections while old ones live', async () => {
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, maxSockets: 1 })
    const ask = async (): Promise<unknown> => {
      const req = get({ host: '127.0.0.1', port: server.port(), agent })
      const [res] = await once(req, 'response')
      const { CN } = (res.socket as TLSSocket).getPeerCertificate().subject
      res.resume()
      await once(res, 'end')
      return CN
    }
    assert.equal(await ask(), 'first')
    await turnTo('second')
    await waitUntil('the second certificate', async () => (await served()) === 'second')
    assert.equal(await ask(), 'first')
    agent.destroy()
    assert.equal((await handshake({ maxVersion: 'TLSv1.2' })).getProtocol(), 'TLSv1.2')
    await assert.rejects(handshake({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }))
    await turnTo('third')
    await waitUntil('the third certificate', async () => (await served()) === 'third')
    assert.match(await metrics.render(), /firebreak_tls_reloads_total\{result="done"\} 2/)
  })

  it('keeps the old pair when the new one is broken, says so, and takes it once it is whole', async () => {
    const place = await makePair(folder, 'torn')
    const whole = await readFile(path.join(place, 'key.pem'))
    for (const key of ['', 'no key', await readFile(path.join(folder, 'second', 'key.pem'))]) {
      await writeFile(path.join(place, 'key.pem'), key)
      await turnTo('torn')
      await waitUntil('the warning', () => watch.health().reason?.includes('TLS_KEY_FILE'))
      assert.equal(watch.health().ok, true)
      assert.equal(await served(), 'first')
      await turnTo('first')
      await waitUntil('no warning', () => watch.health().reason === undefined)
    }
    await writeFile(path.join(place, 'key.pem'), whole)
    await turnTo('torn')
    await waitUntil('the new certificate', async () => (await served()) === 'torn')
    await rm(path.join(folder, 'live'))
    await waitUntil('the warning', () => watch.health().reason?.includes('TLS_CERT_FILE: cannot read'))
    assert.equal(await served(), 'torn')
  })

  it('shows when the certificate ends, and warns in the week before', async () => {
    const name = 'firebreak_tls_certificate_expires_timestamp_seconds'
    const inDays = async () => ((await metric(name)) - Date.now() / 1000) / 86_400
    assert.ok(Math.abs((await inDays()) - 30) < 0.1)
    assert.equal(watch.health().reason, undefined)
    await turnTo('brief')
    await waitUntil('the warning', () => /^the certificate ends at 20/.test(watch.health().reason ?? ''))
    assert.ok(Math.abs((await inDays()) - 1) < 0.1)
  })

  it('names the setting of a file that cannot be read', () => {
    const { certFile, keyFile } = filesIn(path.join(folder, 'first'))
    const refused = (files: { certFile: string; keyFile: string }, message: RegExp) =>
      assert.throws(
        () => readTlsFiles(files),
        (error) => error instanceof StartupError && message.test(error.message),
      )
    refused({ certFile: '/nowhere', keyFile }, /^TLS_CERT_FILE: cannot read \/nowhere/)
    refused({ certFile, keyFile: '/nowhere' }, /^TLS_KEY_FILE: cannot read \/nowhere/)
    refused({ certFile: keyFile, keyFile }, /TLS_CERT_FILE and TLS_KEY_FILE are not/)
  })
})
