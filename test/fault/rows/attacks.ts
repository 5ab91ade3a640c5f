import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { readMetric } from '../../support/hub-scene.js'
import { waitUntil } from '../../support/wait.js'
import { healthyIsServed } from '../endpoint-scene.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { RowSkipped } from '../run-row.js'
import type { RunningLoad } from '../running-load.js'
import { ask } from '../sql.js'

interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly load: RunningLoad
  readonly path: string
}

async function underLoad(rig: FaultRig, env: Record<string, string> = {}): Promise<Ready> {
  const hub = await rig.hub({ env })
  const scene = await rig.scene([hub], { push: 1, poll: 1 })
  const load = rig.load(scene)
  await load.goesOn(36, 'at first')
  return { hub, scene, load, path: new URL(scene.ingestUrls[0] as string).pathname }
}

interface Attacker {
  readonly sockets: readonly Socket[]
  /** That the hub closed. */
  closed(): number
  /** Of those answers that came. */
  statuses(): Map<string, number>
}

/** So many connections at once, each with this said on it. */
function attack(
  rig: FaultRig,
  port: number,
  count: number,
  say: (socket: Socket, n: number) => void,
): Attacker {
  let closed = 0
  const statuses = new Map<string, number>()
  const sockets = Array.from({ length: count }, (_, n) => {
    const socket = connect(port, '127.0.0.1', () => say(socket, n))
    socket
      .on('error', () => {})
      .on('close', () => {
        closed += 1
      })
      .once('data', (chunk: Buffer) => {
        const status = /^HTTP\/1\.1 (\d+)/.exec(chunk.toString('latin1'))?.[1] ?? 'no HTTP'
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      })
    return socket
  })
  rig.atEnd(() => {
    for (const socket of sockets) socket.destroy()
  })
  return { sockets, closed: () => closed, statuses: () => statuses }
}

function drip(socket: Socket, text: string): void {
  const timer = setInterval(() => socket.write(text), 500)
  socket.once('close', () => clearInterval(timer))
}

const told = (statuses: ReadonlyMap<string, number>) =>
  [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ') || 'no answer'

const slow: Row = {
  id: 'D1',
  title: '2,000 connections that send headers or a body a byte at a time',
  expected: 'cut with 408; the others are served',
  async run(rig) {
    const { hub, load, path } = await underLoad(rig)
    const count = Math.round(rig.scaled(2_000, 300))
    const attacker = await rig.during(async () => {
      const slowly = attack(rig, hub.port, count, (socket, n) => {
        const start = `POST ${path} HTTP/1.1\r\nHost: hub\r\n`
        socket.write(n % 2 === 0 ? `${start}X-Slow: ` : `${start}Content-Length: 60000\r\n\r\n`)
        drip(socket, 'a')
      })
      const before = load.accepted
      await waitUntil('the hub has cut them all', () => slowly.closed() === count, {
        deadlineMs: 60_000,
        detail: () => `${slowly.closed()} of ${count}`,
      })
      assert.ok(load.accepted > before, 'nothing was taken meanwhile')
      return slowly
    })
    await load.stop()
    const statuses = attacker.statuses()
    assert.ok((statuses.get('408') ?? 0) > count / 4, told(statuses))
    return `${count} connections: ${told(statuses)}`
  },
}

const NO_FILE = 256

const crowded: Row = {
  id: 'D2',
  title: 'connections until the process may open no more files',
  expected: 'it refuses, keeps those to its servers, and heals',
  async run(rig) {
    const { hub, load } = await underLoad(rig)
    try {
      execFileSync('prlimit', ['--pid', String(hub.pid()), `--nofile=${NO_FILE}:${NO_FILE}`], {
        stdio: 'pipe',
      })
    } catch {
      throw new RowSkipped('setting the limit of a running process takes prlimit')
    }
    // prlimit is of Linux, as is this folder.
    const openFiles = () => readdirSync(`/proc/${hub.pid()}/fd`).length
    await rig.during(async () => {
      const { sockets } = attack(rig, hub.port, 2 * NO_FILE, () => {})
      await waitUntil('it has no files left', () => openFiles() >= NO_FILE - 4, {
        detail: () => `${openFiles()} are open`,
      })
      await delay(rig.scaled(60_000, 5_000))
      for (const socket of sockets) socket.destroy()
    })
    await load.goesOn(24, 'again')
    await hub.ready()
    const { refused } = await load.stop()
    assert.deepEqual(
      [...refused.keys()].filter((status) => status !== 0 && status !== 503),
      [],
    )
    return `${2 * NO_FILE} connections at ${NO_FILE} files; pushes that were repeated: ${[...refused.values()].reduce((sum, n) => sum + n, 0)}`
  },
}

/** Sends bytes and answers all that comes until the hub closes, or is silent for 2 s. */
async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let seen = ''
  socket.setTimeout(2_000, () => socket.destroy())
  socket
    .on('error', () => {})
    .on('data', (chunk) => {
      seen += chunk.toString('latin1')
    })
  socket.write(text)
  await once(socket, 'close')
  return seen
}

const smuggled: Row = {
  id: 'D3',
  title: 'requests hidden in others: two lengths, length and chunks, odd chunk ends; pipelining',
  expected: '400 and the connection closed; the hidden SET is never taken; pipelined ones are each answered',
  async run(rig) {
    const { hub, scene, load, path } = await underLoad(rig)
    const start = `POST ${path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/secevent+jwt\r\n`
    const request = (set: string) => `${start}Content-Length: ${set.length}\r\n\r\n${set}`
    const hidden = async (n: number) =>
      request(await scene.upstream.sign({ txn: `hidden ${n}`, user: 'mallory' }))
    const outer: ((inner: string) => string)[] = [
      (inner) => `${start}Content-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
      (inner) =>
        `${start}Content-Length: ${inner.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      (inner) => `${start}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${inner}`,
      (inner) => `${start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${inner}`,
      (inner) => `${start}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${inner}`,
      (inner) => `${start}Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n${inner}`,
      (inner) => `${start} Content-Length: 0\r\n\r\n${inner}`,
      (inner) => `${start}X: a\0b\r\nContent-Length: 0\r\n\r\n${inner}`,
      (inner) => `${start}Content-Length: +0\r\n\r\n${inner}`,
    ]
    await rig.during(async () => {
      for (const [n, wrap] of outer.entries()) {
        const answer = await exchange(hub.port, wrap(await hidden(n)))
        assert.match(answer, /^HTTP\/1\.1 4\d\d /, `form ${n} was answered ${answer.slice(0, 40)}`)
        assert.doesNotMatch(answer, / 202 /, `form ${n}`)
      }
      const sets = await Promise.all(
        ['pipelined 1', 'pipelined 2', 'pipelined 3'].map((txn) => scene.upstream.sign({ txn, user: txn })),
      )
      const answers = await exchange(hub.port, sets.map(request).join(''))
      assert.equal(answers.split('HTTP/1.1 202').length - 1, 3, answers)
      for (const n of [1, 2, 3]) scene.ledger.accepted(`pipelined ${n}`)
    })
    await load.goesOn(24, 'afterwards')
    await load.stop()
    // What was taken before them is stored by then.
    await healthyIsServed(scene)
    assert.deepEqual(await ask(scene.databaseUrl, `select txn from events where txn like 'hidden%'`), [])
    return `${outer.length} forms, none of the hidden SETs was taken`
  },
}

const greedy: Row = {
  id: 'D4',
  title: 'polls for 1e9 events, acks by the hundred thousand, 5,000 setErrs, thousands of long polls at once',
  expected: 'bounded or refused; memory stays; the others are served',
  async run(rig) {
    const { hub, scene, load } = await underLoad(rig)
    const stream = await scene.addPoll('greedy', { poll: false })
    const rss = () => readMetric(hub, 'process_resident_memory_bytes')
    const before = await rss()
    const poll = async (body: object): Promise<number> => {
      const response = await fetch(hub.url + stream.path, {
        method: 'POST',
        headers: { authorization: `Bearer ${stream.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      }).catch(() => undefined)
      await response?.arrayBuffer()
      return response?.status ?? 0
    }
    const seen = await rig.during(async () => {
      const jtis = (count: number) => Array.from({ length: count }, (_, n) => `no such jti ${n}`)
      const errors = Object.fromEntries(jtis(5_000).map((jti) => [jti, { err: 'invalid_request' }]))
      const statuses = {
        'maxEvents 1e9': await poll({ maxEvents: 1e9, returnImmediately: true }),
        '20,000 acks': await poll({ ack: jtis(20_000), maxEvents: 0 }),
        '1e6 acks': await poll({ ack: jtis(1_000_000), maxEvents: 0 }),
        '5,000 setErrs': await poll({ setErrs: errors, maxEvents: 0 }),
      }
      assert.deepEqual(Object.values(statuses), [200, 200, 413, 400], JSON.stringify(statuses))
      const count = Math.round(rig.scaled(5_000, 400))
      const counts = new Map<number, number>()
      await Promise.all(
        Array.from({ length: count }, async () => {
          const status = await poll({ maxEvents: 1, ack: [] })
          counts.set(status, (counts.get(status) ?? 0) + 1)
        }),
      )
      assert.deepEqual(
        [...counts.keys()].filter((status) => ![200, 429, 503, 0].includes(status)),
        [],
      )
      return `${count} polls at once: ${told(new Map([...counts].map(([status, n]) => [String(status), n])))}`
    })
    const growth = Math.round(((await rss()) - before) / 1_048_576)
    await load.stop()
    assert.ok(growth < 200, `memory grew by ${growth} MiB`)
    return `${seen}; memory grew by ${growth} MiB`
  },
}

const backlog: Row = {
  id: 'D5',
  title: 'a backlog of 1,000,000 open deliveries and a heap of 256 MiB',
  expected: 'pages from the database, no OOM; an urgent event goes past it',
  bounds: { rssMiB: 640 },
  async run(rig) {
    const hub = await rig.hub({ env: { NODE_OPTIONS: '--max-old-space-size=256' } })
    const scene = await rig.scene([hub], { push: 1, poll: 0 })
    const wanted = Math.round(rig.scaled(1_000_000, 4_000))
    const streams = Math.min(200, Math.max(20, Math.round(wanted / 5_000)))
    const dead = await scene.addPush('dead 1')
    await dead.sink.shut()
    for (let n = 2; n <= streams; n += 1) await scene.addPushTo(`dead ${n}`, dead.sink.url)
    for (let n = 1; n <= streams; n += 1) scene.ledger.release(`dead ${n}`)
    const load = rig.load(scene)
    const open = async () => {
      const rows = await ask<{ n: number }>(scene.databaseUrl, 'select count(*)::int n from delivery_queue')
      return rows[0]?.n ?? 0
    }
    const events = Math.ceil(wanted / streams)
    await waitUntil('the backlog stands', () => load.accepted >= events, {
      deadlineMs: 60_000 + events * 200,
      detail: () => `${load.accepted} of ${events} events`,
    })
    await load.stop()
    // A loosening one of four is mostly superseded before it is tried.
    await waitUntil('it is queued', async () => (await open()) >= wanted * 0.7, { deadlineMs: 60_000 })
    const seen = await rig.during(async () => {
      hub.signal('SIGKILL')
      await hub.ended()
      hub.start()
      await hub.ready()
      await dead.sink.open()
      const before = await open()
      assert.ok(before >= wanted * 0.6, `${before} are open, ${wanted} wanted`)
      const began = performance.now()
      await scene.push({ txn: 'past the backlog', user: 'somebody else' })
      const has = () => scene.ledger.receipts('push 1').some(({ txn }) => txn === 'past the backlog')
      await waitUntil('the urgent event goes past it', has, { deadlineMs: 20_000 })
      const tookMs = performance.now() - began
      await delay(rig.scaled(120_000, 5_000))
      return `${before} open; an urgent event past them in ${Math.round(tookMs)} ms; then ${await open()} open`
    })
    await hub.ready()
    return seen
  },
}

const guessed: Row = {
  id: 'D6',
  title: 'tokens guessed at the API and at a poll endpoint',
  expected: '401, then 429; whoever has a good token is served from the same address',
  quick: true,
  async run(rig) {
    const { hub, scene, load } = await underLoad(rig)
    const statuses: number[] = []
    await rig.during(async () => {
      for (const path of [
        '/v1/receivers',
        '/ssf/streams',
        '/ssf/poll/00000000-0000-7000-8000-000000000000',
      ]) {
        for (let n = 0; n < 40; n += 1) {
          const answer = await fetch(hub.url + path, {
            method: path.startsWith('/ssf/poll') ? 'POST' : 'GET',
            headers: { authorization: `Bearer fbk_op_guess-${n}-${'a'.repeat(24)}` },
          })
          await answer.arrayBuffer()
          statuses.push(answer.status)
        }
      }
      const good = await scene.admin.ask('GET', '/v1/receivers')
      assert.equal(good.status, 200)
    })
    await load.stop()
    assert.equal(statuses[0], 401)
    assert.deepEqual(new Set(statuses), new Set([401, 429]))
    return `${statuses.indexOf(429)} answers of 401, then 429`
  },
}

export const ATTACK_ROWS: readonly Row[] = [slow, crowded, smuggled, greedy, backlog, guessed]
