import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { LoadResult } from '../../support/set-producer.js'
import { waitUntil } from '../../support/wait.js'
import { startWatchdog } from '../../support/watchdog.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { RowSkipped } from '../run-row.js'
import type { RunningLoad } from '../running-load.js'
import { ask } from '../sql.js'

interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly load: RunningLoad
}

/** One hub on a server that may be harmed, under load. */
async function underLoad(rig: FaultRig, url: string, env: Record<string, string> = {}): Promise<Ready> {
  const hub = await rig.hub({ databaseUrl: url, env })
  const scene = await rig.scene([hub])
  const load = rig.load(scene)
  await load.goesOn(36, 'at first')
  return { hub, scene, load }
}

/** It goes on by itself: the process takes and delivers again. Answers how soon, ms. */
async function resumes({ hub, load }: Ready): Promise<number> {
  const began = performance.now()
  await load.goesOn(12, 'again')
  const tookMs = performance.now() - began
  await hub.ready()
  return Math.round(tookMs)
}

/** What a sender may see while the hub cannot store: nothing else, and never a 5xx without a word when to come back. */
function onlyUnavailable({ refused }: LoadResult): string {
  const odd = [...refused.keys()].filter((status) => status !== 503)
  assert.deepEqual(odd, [], `pushes were answered ${odd}`)
  return `${refused.get(503) ?? 0} × 503`
}

/**
 * Looks once a moment until the hub refuses, and holds that it says when to come back.
 * @param mayTake there may still be room for some: what is answered 202 until then must not be lost
 */
async function refusesWithRetryAfter(hub: FaultHub, scene: FaultScene, mayTake = false): Promise<void> {
  let count = 0
  const answer = await waitUntil('the hub refuses', async () => {
    count += 1
    const txn = `while refusing ${count}`
    const response = await fetch(scene.ingestUrls[0] as string, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt' },
      // Of a subject each: the same fact twice goes out once.
      body: await scene.upstream.sign({ txn, user: txn }),
      signal: AbortSignal.timeout(20_000),
    }).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.status === 202) {
      if (!mayTake) throw new Error('a SET was answered 202 that cannot be stored')
      scene.ledger.accepted(txn)
    }
    return response?.status === 503 ? response : undefined
  })
  assert.match(answer.headers.get('retry-after') ?? '', /^\d+$/)
  const reasons = await waitUntil('readiness says so', async () => {
    const ready = await fetch(`${hub.managementUrl}/health/ready`)
    const text = await ready.text()
    return ready.status === 503 ? text : undefined
  })
  assert.match(reasons, /Database|Event log/)
}

const restart = (kill: boolean): Pick<Row, 'run'> => ({
  async run(rig) {
    const server = await rig.postgres()
    const here = await underLoad(rig, server.url)
    await rig.during(async () => {
      await (kill ? server.kill() : server.stop())
      await refusesWithRetryAfter(here.hub, here.scene)
      await delay(rig.scaled(20_000, 500))
      await server.start()
    })
    const backMs = await resumes(here)
    return `${onlyUnavailable(await here.load.stop())}; taking SETs ${backMs} ms after Postgres was back`
  },
})

const restarts: Row = {
  id: 'P1',
  title: 'Postgres restarted (fast) under load, Postgres log',
  expected: '503 with Retry-After, never a false 202, back without a restart',
  ...restart(false),
}

const besideKafka: Row = {
  id: 'P1k',
  title: 'Postgres restarted (fast) under load, Kafka log',
  expected: '202 goes on from the registry snapshot; fan-out catches up',
  async run(rig) {
    const server = await rig.postgres()
    const here = await underLoad(rig, server.url, await rig.kafkaEnv())
    await rig.during(async () => {
      await server.stop()
      await here.load.goesOn(36, 'without Postgres')
      await delay(rig.scaled(20_000, 500))
      await server.start()
    })
    await resumes(here)
    return `while Postgres was away: ${onlyUnavailable(await here.load.stop())}`
  },
}

const killed: Row = {
  id: 'P2',
  title: 'kill -9 of the postmaster under load',
  expected: 'nothing that was answered 202 is lost (fsync is on)',
  ...restart(true),
}

/** The postmaster and all its children, so that nothing answers and nothing is refused. */
function signalServer(url: string, signal: NodeJS.Signals): void {
  const port = new URL(url).port
  const [postmaster] = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => / -D /.test(line) && new RegExp(`(port=|-p ?)${port}\\b`).test(line))
    .map((line) => Number(line.trim().split(/\s+/)[0]))
  if (!postmaster) throw new Error(`no postmaster on port ${port}`)
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(postmaster)], { encoding: 'utf8' })
  const pids = children.split('\n').map(Number).filter(Boolean)
  for (const pid of signal === 'SIGSTOP' ? [postmaster, ...pids] : [...pids, postmaster]) {
    try {
      process.kill(pid, signal)
    } catch (error) {
      // A session may end between the look and the signal.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

const stopped: Row = {
  id: 'P3',
  title: 'Postgres SIGSTOP for 30 s under load',
  expected: 'deadlines fire, 503, the event loop stays free',
  bounds: { loopLagMs: 1_000 },
  async run(rig) {
    const server = await rig.postgres()
    const here = await underLoad(rig, server.url)
    rig.atEnd(() => signalServer(server.url, 'SIGCONT'))
    await rig.during(async () => {
      signalServer(server.url, 'SIGSTOP')
      await refusesWithRetryAfter(here.hub, here.scene)
      await delay(rig.scaled(30_000, 1_000))
      signalServer(server.url, 'SIGCONT')
    })
    const backMs = await resumes(here)
    return `${onlyUnavailable(await here.load.stop())}; taking SETs ${backMs} ms after it went on`
  },
}

/**
 * Takes every place of the server, those of the hub too, until it is over: whatever the hub gets back it loses again. All
 * that is taken is in `held`.
 */
async function crowd(url: string, held: pg.Client[], isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => {})
    const isTaken = await client.connect().then(
      () => true,
      () => false,
    )
    if (isTaken) {
      held.push(client)
      continue
    }
    // By a place that is held: there is no other.
    await held[0]?.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'firebreak%'`,
    )
    await delay(5)
  }
}

const crowded: Row = {
  id: 'P4',
  title: 'max_connections used up by others',
  expected: 'what has no connection is shed with 503; recovers when they go',
  async run(rig) {
    const server = await rig.postgres({ settings: { max_connections: '40' } })
    const here = await underLoad(rig, server.url)
    const held: pg.Client[] = []
    let isOver = false
    const free = async () => {
      isOver = true
      await Promise.all(held.splice(0).map((client) => client.end().catch(() => {})))
    }
    rig.atEnd(free)
    let taken = 0
    await rig.during(async () => {
      const crowding = crowd(server.url, held, () => isOver)
      // Heard of where it is awaited.
      crowding.catch(() => {})
      await refusesWithRetryAfter(here.hub, here.scene, true)
      await delay(rig.scaled(30_000, 4_000))
      taken = held.length
      isOver = true
      await crowding
      await free()
    })
    await resumes(here)
    assert.ok(taken > 30, `others held ${taken} of 40`)
    return `others held ${taken} of 40; ${onlyUnavailable(await here.load.stop())}`
  },
}

/** Against the hub's order, from the last slot down. */
async function lockBackwards(client: pg.Client): Promise<void> {
  await client.query('begin')
  for (const slot of Array.from({ length: 64 }, (_, n) => 63 - n)) {
    await client.query('select 1 from partition_fences where slot = $1 for update', [slot])
  }
  await client.query('commit')
}

const deadlocked: Row = {
  id: 'P5',
  title: 'deadlocks with another transaction on the fan-out fences',
  expected: 'retried; no sender sees an error',
  async run(rig) {
    const server = await rig.postgres({ settings: { deadlock_timeout: '50ms' } })
    const here = await underLoad(rig, server.url)
    const other = new pg.Client({ connectionString: server.url })
    await other.connect()
    rig.atEnd(() => other.end())
    // The victim is who waits when the patience ends: mostly the hub, and this one where it closed the circle.
    await other.query(`set deadlock_timeout = '1s'`)
    const deadlocks = async () =>
      Number(
        (await ask<{ n: number }>(server.url, 'select sum(deadlocks)::int n from pg_stat_database'))[0]?.n,
      )
    await rig.during(async () => {
      await waitUntil(
        'three deadlocks',
        async () => {
          await lockBackwards(other).catch(() => other.query('rollback'))
          return (await deadlocks()) >= 3
        },
        { deadlineMs: 60_000 },
      )
    })
    const { refused } = await here.load.stop()
    assert.deepEqual([...refused], [])
    return `${await deadlocks()} deadlocks, each retried`
  },
}

const full: Row = {
  id: 'P6',
  title: 'the disk of Postgres is full',
  expected: '503, no 202; heals when there is room',
  async run(rig) {
    const disk = await mkdtemp(join(tmpdir(), 'firebreak-disk-'))
    const watchdog = startWatchdog(disk)
    rig.atEnd(() => watchdog.dismiss())
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m,mode=0755', 'firebreak-fault', disk], {
        stdio: 'pipe',
      })
    } catch {
      throw new RowSkipped('mounting a tmpfs takes root')
    }
    const server = await rig.postgres({
      parent: disk,
      settings: { max_wal_size: '64MB', wal_recycle: 'off' },
    })
    const here = await underLoad(rig, server.url)
    const filler = join(disk, 'filler')
    await rig.during(async () => {
      const { bavail, bsize } = await statfs(disk)
      try {
        writeFileSync(filler, Buffer.alloc(bavail * bsize - 65_536))
      } catch {
        // Postgres was quicker: it is full all the same.
      }
      // New rows need new pages: only so much fits into what is allotted already.
      await ask(
        server.url,
        'create table filler as select repeat(md5(n::text), 100) from generate_series(1, 200000) n',
      ).catch(() => {})
      await refusesWithRetryAfter(here.hub, here.scene, true)
      await delay(rig.scaled(10_000, 500))
      rmSync(filler)
      // A server that found no room for its log ends itself; whoever runs it starts it again.
      await delay(500)
      await ask(server.url, 'drop table if exists filler').catch(async () => {
        await server.kill()
        await server.start()
      })
    })
    await resumes(here)
    return `with a full disk: ${onlyUnavailable(await here.load.stop())}`
  },
}

const readOnly: Row = {
  id: 'P7',
  title: 'the primary is read-only',
  expected: '503 with a reason in readiness; heals',
  async run(rig) {
    const server = await rig.postgres()
    const here = await underLoad(rig, server.url)
    const setReadOnly = async (value: string) => {
      await ask(server.url, `alter system set default_transaction_read_only = ${value}`)
      await ask(server.url, 'select pg_reload_conf()')
    }
    await rig.during(async () => {
      await setReadOnly('on')
      await refusesWithRetryAfter(here.hub, here.scene)
      await delay(rig.scaled(20_000, 500))
      await setReadOnly('off')
    })
    await resumes(here)
    return onlyUnavailable(await here.load.stop())
  },
}

const locked: Row = {
  id: 'P8',
  title: 'ACCESS EXCLUSIVE lock on the event log and the queue for 20 s',
  expected: 'a deadline and 503, no pile-up',
  async run(rig) {
    const server = await rig.postgres()
    const here = await underLoad(rig, server.url)
    const holder = new pg.Client({ connectionString: server.url })
    await holder.connect()
    rig.atEnd(() => holder.end())
    const connections = () =>
      ask<{ n: number }>(
        server.url,
        `select count(*)::int n from pg_stat_activity where application_name like 'firebreak%'`,
      )
    let most = 0
    await rig.during(async () => {
      await holder.query('begin')
      await holder.query('lock table event_log, delivery_queue in access exclusive mode')
      const end = performance.now() + rig.scaled(20_000, 12_000)
      while (performance.now() < end) {
        most = Math.max(most, (await connections())[0]?.n ?? 0)
        await delay(250)
      }
      await holder.query('commit')
    })
    await resumes(here)
    assert.ok(most <= 40, `${most} connections`)
    return `${onlyUnavailable(await here.load.stop())}; at most ${most} connections`
  },
}

export const POSTGRES_ROWS: readonly Row[] = [
  restarts,
  besideKafka,
  killed,
  stopped,
  crowded,
  deadlocked,
  full,
  readOnly,
  locked,
]
