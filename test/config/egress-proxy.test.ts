import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/config.js'
import { egressProxyOf } from '../../src/hub-egress.js'
import { StartupError } from '../../src/kernel/errors.js'
import { createAuthority, type TestAuthority } from '../support/certificates.js'

describe('config: the egress proxy', () => {
  const EGRESS_PROXY_URL = 'https://hub:canary@proxy.example.com:3128'
  let folder: string
  let authority: TestAuthority

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'firebreak-egress-'))
    authority = await createAuthority('Company')
  })
  after(() => Promise.all([authority.remove(), rm(folder, { recursive: true, force: true })]))

  const proxyOf = (env: Record<string, string>) => egressProxyOf(loadConfig(env), Date.now()).proxy
  async function file(text: string): Promise<string> {
    const path = join(folder, 'ca.pem')
    await writeFile(path, text)
    return path
  }

  it('is none unless it is set, whatever other programs go by', () => {
    assert.equal(proxyOf({ HTTPS_PROXY: 'http://10.0.0.1:1', ALL_PROXY: 'http://10.0.0.1:1' }), undefined)
  })

  it('has the authorities of its file, without what stands around them', async () => {
    const path = await file(`of the company\n${authority.cert}`)
    assert.deepEqual(proxyOf({ EGRESS_PROXY_URL, EGRESS_PROXY_CA_FILE: path }), {
      url: EGRESS_PROXY_URL,
      resolves: false,
      localNames: [],
      answersWithinMs: 2_800,
      ca: authority.cert,
    })
  })

  it('has less time than a push, whatever that has', () => {
    for (const pushTimeoutMs of [100, 1_000, 5_000, 5_500]) {
      const proxy = proxyOf({ EGRESS_PROXY_URL, PUSH_TIMEOUT_MS: String(pushTimeoutMs) })
      const withinMs = proxy?.answersWithinMs ?? Number.NaN
      assert.ok(withinMs < pushTimeoutMs && withinMs < 3_000, `${withinMs} of ${pushTimeoutMs}`)
    }
  })

  it('stops the start when the file cannot be used, with the setting, the file and no password', async () => {
    const bad: [path: string, says: RegExp][] = [
      [join(folder, 'missing.pem'), /ENOENT/],
      [await file('nothing of use'), /write PEM/],
    ]
    for (const [path, says] of bad) {
      assert.throws(
        () => proxyOf({ EGRESS_PROXY_URL, EGRESS_PROXY_CA_FILE: path }),
        (error: Error) => {
          assert.ok(error instanceof StartupError)
          assert.ok(error.message.startsWith(`EGRESS_PROXY_CA_FILE: ${path} is not`), error.message)
          assert.match(error.message, says)
          return !error.message.includes('canary')
        },
      )
    }
  })
})
