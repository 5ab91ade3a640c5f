import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readKeyFiles } from '../../src/keys/key-watch.js'
import { hubApi } from '../support/hub-api.js'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

interface Key {
  kid: string
  alg: string
  use: string
  state: string
  origin: string
}

describe('keys: a hub that signs with a key of its operator', function () {
  this.timeout(120_000)
  let folder: string
  let database: TestDatabase
  let hub: HubProcess
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'firebreak-keys-'))
    database = await createTestDatabase()
    await writeKey('live.pem')
    const env = {
      DATABASE_URL: database.url,
      SIGNING_KEY_FILES: path.join(folder, 'live.pem'),
      SIGNING_KEY_LEAD_S: '20',
    }
    hub = await startHub({ env })
  })
  after(async () => {
    await hub?.remove()
    await database?.close()
    await rm(folder, { recursive: true })
  })

  /** Answers its kid. */
  async function writeKey(name: string): Promise<string> {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const file = path.join(folder, name)
    await writeFile(file, privateKey.export({ format: 'pem', type: 'pkcs8' }))
    return readKeyFiles([file])[0]?.kid as string
  }
  const published = async () => {
    const answer = await fetch(`${hub.url}/ssf/jwks.json`)
    // 503 when this process has not read its keys for a while.
    if (answer.status !== 200) return []
    const { keys } = (await answer.json()) as { keys: { kid: string }[] }
    return keys.map(({ kid }) => kid)
  }
  const stateOf = async (kid: string) => {
    const { items } = await hubApi(() => hub.url, hub.adminToken).call<{ items: Key[] }>('GET', '/v1/keys')
    const key = items.find((item) => item.kid === kid)
    return key && `${key.use} ${key.alg} ${key.origin} ${key.state}`
  }

  it('publishes it, and a replaced file first as the next one', async () => {
    const [old] = readKeyFiles([path.join(folder, 'live.pem')])
    assert.equal(await stateOf(old?.kid ?? ''), 'set RS256 file active')
    await waitUntil('it is published', async () => (await published()).includes(old?.kid ?? ''))
    const kid = await writeKey('next.pem')
    await rename(path.join(folder, 'next.pem'), path.join(folder, 'live.pem'))
    await waitUntil('the new key waits', async () => (await stateOf(kid)) === 'set RS256 file next')
    await waitUntil('the new key is published', async () => (await published()).includes(kid))
    await waitUntil('the new key signs', async () => (await stateOf(kid)) === 'set RS256 file active', {
      deadlineMs: 60_000,
    })
    assert.equal(await stateOf(old?.kid ?? ''), 'set RS256 file retiring')
    const refused = await hubApi(() => hub.url, hub.adminToken).ask<{ message: string }>(
      'POST',
      '/v1/keys/rotate',
      {
        use: 'set',
        alg: 'RS256',
      },
    )
    assert.equal(refused.status, 409)
    assert.match(refused.body.message, /replace that file/)
  })
})
