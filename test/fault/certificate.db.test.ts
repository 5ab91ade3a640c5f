import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { readMetric } from '../support/hub-scene.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const run = promisify(execFile)

describe('fault: the certificate of a running hub', function () {
  this.timeout(120_000)
  let folder: string
  let database: TestDatabase
  let hub: HubProcess
  const place = (name: string) => path.join(folder, name)

  async function makePair(name: string): Promise<void> {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30']
    const files = ['-keyout', place(`${name}.key`), '-out', place(`${name}.cert`)]
    await run('openssl', ['req', '-x509', ...curve, ...files, '-subj', `/CN=${name}`])
  }

  /** The name in the certificate that a new connection is shown. */
  async function served(): Promise<unknown> {
    const socket = connect({ port: hub.port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN
  }
  const reasons = async () => {
    const answer = await fetch(`${hub.managementUrl}/health/ready`)
    assert.equal(answer.status, 200)
    return ((await answer.json()) as { reasons: string[] }).reasons.join('\n')
  }

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'firebreak-cert-'))
    await Promise.all(['live', 'next'].map(makePair))
    database = await createTestDatabase()
    const env = {
      DATABASE_URL: database.url,
      TLS_CERT_FILE: place('live.cert'),
      TLS_KEY_FILE: place('live.key'),
    }
    hub = await startHub({ env })
  })
  after(async () => {
    await hub?.remove()
    await database?.close()
    await rm(folder, { recursive: true })
  })

  it('stays while the new one is broken, which readiness tells, and changes without a restart', async () => {
    const pid = hub.pid()
    assert.equal(await served(), 'live')
    assert.doesNotMatch(await reasons(), /tls/)
    const key = await readFile(place('live.key'))
    await writeFile(place('live.key'), 'half a k')
    await waitUntil('the warning', async () => /tls: .*TLS_KEY_FILE/.test(await reasons()))
    assert.equal(await served(), 'live')
    await writeFile(place('live.key'), key)
    await waitUntil('no warning', async () => !/tls/.test(await reasons()))
    for (const part of ['cert', 'key']) await rename(place(`next.${part}`), place(`live.${part}`))
    await waitUntil('the new certificate', async () => (await served()) === 'next')
    assert.equal(hub.pid(), pid)
    const endsS = await readMetric(hub, 'firebreak_tls_certificate_expires_timestamp_seconds')
    assert.ok(Math.abs(endsS - Date.now() / 1000 - 30 * 86_400) < 3_600)
  })
})
