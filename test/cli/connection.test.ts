import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findHub } from '../../src/cli/connection.js'

const LOCAL = 'http://127.0.0.1:8123'
const FAR = 'https://far.example.com'

describe('cli: the address in the data folder', () => {
  let dataDir: string
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'firebreak-connection-'))
  })
  afterEach(() => rmSync(dataDir, { recursive: true }))

  const plant = (url: string, mode = 0o600) => {
    writeFileSync(join(dataDir, 'hub.json'), JSON.stringify({ url }))
    chmodSync(join(dataDir, 'hub.json'), mode)
  }
  const keepToken = () => writeFileSync(join(dataDir, 'admin-token'), 'local-admin\n')

  it('is used with its admin token when it is our own file', async () => {
    plant(`${LOCAL}/`)
    keepToken()
    const found = await findHub({ dataDir })
    assert.deepEqual([found.url, found.token], [LOCAL, 'local-admin'])
  })

  it('gets a token of the caller when it is loopback', async () => {
    plant(LOCAL)
    assert.equal((await findHub({ dataDir, firebreakToken: 'mine' })).token, 'mine')
    assert.equal((await findHub({ dataDir }, { token: 'mine' })).token, 'mine')
  })

  it('gets no token of the caller when it is another machine, which must be named by the caller', async () => {
    plant(FAR)
    await assert.rejects(
      findHub({ dataDir, firebreakToken: 'mine' }),
      /FIREBREAK_TOKEN there, say so with --url/,
    )
    await assert.rejects(findHub({ dataDir }, { token: 'mine' }), /--token-file there, say so with --url/)
    assert.equal((await findHub({ dataDir, firebreakToken: 'mine', firebreakUrl: FAR })).token, 'mine')
    keepToken()
    assert.equal((await findHub({ dataDir })).token, 'local-admin')
  })

  it('is held to https as FIREBREAK_URL is', async () => {
    for (const url of ['http://far.example.com', 'ftp://127.0.0.1', 'https://a:b@far.example.com', 'hub']) {
      plant(url)
      await assert.rejects(findHub({ dataDir }), /the url in .*hub\.json must be/)
    }
  })

  it('is loopback when the hub listens on every address', async () => {
    plant('http://0.0.0.0:8080')
    assert.equal((await findHub({ dataDir })).url, 'http://127.0.0.1:8080')
    plant('http://[::]:8080')
    assert.equal((await findHub({ dataDir })).url, 'http://[::1]:8080')
  })

  it('is refused in a file that others can write, and is nothing to a caller who names the hub', async () => {
    for (const mode of [0o620, 0o602]) {
      plant(LOCAL, mode)
      await assert.rejects(findHub({ dataDir }), /hub\.json is not used: .* nobody else can write/)
    }
    const found = await findHub({ dataDir, firebreakUrl: FAR, firebreakToken: 'mine' })
    assert.deepEqual([found.url, found.token], [FAR, 'mine'])
  })

  // Only root can give a file away. A pending test fails the run, so for others there is none.
  if (process.getuid?.() === 0) {
    it('is refused in a file of another user, behind a link too', async () => {
      plant(LOCAL)
      chownSync(join(dataDir, 'hub.json'), 65_534, 65_534)
      await assert.rejects(findHub({ dataDir }), /hub\.json is not used/)
      const linked = join(dataDir, 'linked')
      symlinkSync(dataDir, linked)
      await assert.rejects(findHub({ dataDir: linked }), /hub\.json is not used/)
    })
  }
})
