import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/config.js'
import { type Hub, startHub } from '../../src/hub.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('the address of a hub', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let folder: string
  let hub: Hub
  let told: { token: string; file: string | undefined } | undefined

  beforeEach(async () => {
    database = await createTestDatabase()
    folder = await mkdtemp(join(tmpdir(), 'firebreak-address-'))
    told = undefined
  })
  afterEach(async () => {
    await hub?.stop()
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function start(env: Record<string, string>): Promise<string> {
    hub = await startHub({
      config: loadConfig({ DATABASE_URL: database.url, PORT: '0', MANAGEMENT_PORT: '0', ...env }),
      logger: silentLogger,
      onProgress() {},
      onAdminToken(token, file) {
        told = { token, file }
      },
      onFatal(error) {
        throw error
      },
    })
    assert.ok(hub.url)
    return hub.url
  }

  it('is the issuer too when PORT is 0 and ISSUER unset', async () => {
    const url = await start({ DATA_DIR: folder })
    assert.notEqual(new URL(url).port, '0')
    const answer = await fetch(`${url}/.well-known/ssf-configuration`)
    assert.equal(((await answer.json()) as { issuer: string }).issuer, url)
  })

  it('has brackets when HOST is an IPv6 address', async () => {
    if (!(await hasIPv6())) return
    const url = await start({ DATA_DIR: folder, HOST: '::1' })
    assert.match(url, /^http:\/\/\[::1\]:\d+$/)
    assert.equal((await fetch(`${url}/v1/receivers`)).status, 401)
  })

  it('stands with the admin token in a data folder that DATABASE_URL left to be made', async () => {
    const dataDir = join(folder, 'not', 'yet')
    const url = await start({ DATA_DIR: dataDir })
    assert.deepEqual(told?.file, join(dataDir, 'admin-token'))
    assert.equal(await readFile(join(dataDir, 'admin-token'), 'utf8'), `${told?.token}\n`)
    const trace = JSON.parse(await readFile(join(dataDir, 'hub.json'), 'utf8')) as { url: string }
    assert.equal(trace.url, url)
  })

  it('stands nowhere when the data folder cannot be made, and is said so', async () => {
    await start({ DATA_DIR: '/dev/null/data' })
    assert.ok(told)
    assert.equal(told.file, undefined)
  })
})

function hasIPv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(0, '::1', () => probe.close(() => resolve(true)))
  })
}
