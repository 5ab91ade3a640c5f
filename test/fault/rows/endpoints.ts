import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { selfSigned } from '../../outgoing/certificate.js'
import { readMetric, type ScenePush } from '../../support/hub-scene.js'
import type { SinkAnswer } from '../../support/set-sink.js'
import { waitUntil } from '../../support/wait.js'
import { attemptsOf, startBlackHole } from '../endpoint-watch.js'
import {
  ACCEPTED,
  drip,
  flood,
  type RawEndpoint,
  type RawRequest,
  startRawEndpoint,
} from '../raw-endpoint.js'
import type { FaultHub, FaultRig, FaultScene, RunningLoad } from '../rig.js'
import type { Row } from '../row.js'

const TIMEOUT_MS = 2_000
/** A total deadline ± 10 %, and what two slow cores add. */
const LATEST_MS = TIMEOUT_MS * 1.1 + 400

interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
}

async function oneHub(rig: FaultRig, env: Record<string, string> = {}): Promise<Ready> {
  const hub = await rig.hub({ env: { PUSH_TIMEOUT_MS: String(TIMEOUT_MS), ...env } })
  return { hub, scene: await rig.scene([hub], { push: 1, poll: 0 }) }
}

/** The healthy stream gets all that was accepted so far, whatever its neighbours do. */
async function healthyIsServed(scene: FaultScene): Promise<void> {
  await waitUntil('the healthy stream has all', () => scene.ledger.missing('push 1').length === 0, {
    deadlineMs: 20_000,
  })
}

/** Each of them has failed so often, and says why. */
async function failures({ hub, scene }: Ready, names: readonly string[], least = 2): Promise<string[]> {
  const found = (name: string) =>
    attemptsOf(hub, scene.streamIds.get(name)).filter(({ outcome }) => outcome !== 'received')
  await waitUntil('each has failed', () => names.every((name) => found(name).length >= least), {
    deadlineMs: 40_000,
    detail: () => names.map((name) => `${name}: ${found(name).length}`).join(', '),
  })
  return names.map((name) => `${name}: ${found(name).at(-1)?.reason ?? found(name).at(-1)?.outcome}`)
}

/** Raw endpoints that misbehave until they are mended; then they take what comes, and the ledger hears of it. */
async function misbehaving(
  rig: FaultRig,
  here: Ready,
  kinds: Readonly<Record<string, (request: RawRequest) => void>>,
): Promise<{ load: RunningLoad; mend(): void }> {
  const endpoints: { mend(): void }[] = []
  for (const [name, answer] of Object.entries(kinds)) {
    const endpoint = await startRawEndpoint(answer)
    rig.atEnd(() => endpoint.close())
    await here.scene.addPushTo(name, endpoint.url)
    endpoints.push({
      mend: () =>
        endpoint.answerWith(({ socket, body }) => {
          here.scene.ledger.received(name, body)
          socket.write(ACCEPTED)
        }),
    })
  }
  return {
    load: rig.load(here.scene),
    mend: () => {
      for (const endpoint of endpoints) endpoint.mend()
    },
  }
}

const unreachable: Row = {
  id: 'E1',
  title: 'refused, blackhole, a name that does not resolve',
  expected: 'told by cause, retried, breaker opens; the healthy stream is served',
  async run(rig) {
    const here = await oneHub(rig)
    const { scene } = here
    const refused = await scene.addPush('refused')
    await refused.sink.shut()
    const hole = await startBlackHole()
    rig.atEnd(() => hole.close())
    await scene.addPushTo('blackhole', hole.url)
    await scene.addPushTo('no such name', 'https://endpoint.invalid/events')
    // Nobody will ever answer there.
    for (const name of ['blackhole', 'no such name']) scene.ledger.release(name)
    const load = rig.load(scene)
    const told = await rig.during(async () => {
      const reasons = await failures(here, ['refused', 'blackhole', 'no such name'])
      await healthyIsServed(scene)
      await refused.sink.open()
      return reasons
    })
    await load.stop()
    return told.join('; ')
  },
}

const slow: Row = {
  id: 'E2',
  title: 'accepts and never answers; drips headers; drips a body',
  expected: 'one total deadline per attempt; the healthy stream is served',
  async run(rig) {
    const here = await oneHub(rig)
    const names = ['never answers', 'drips headers', 'drips a body']
    const { load, mend } = await misbehaving(rig, here, {
      'never answers': () => {},
      'drips headers': ({ socket }) => {
        socket.write('HTTP/1.1 202 Accepted\r\nX-Slow: ')
        drip(socket, 'a')
      },
      'drips a body': ({ socket }) => {
        socket.write('HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n')
        drip(socket, 'a')
      },
    })
    await rig.during(async () => {
      await failures(here, names)
      await healthyIsServed(here.scene)
      mend()
    })
    await load.stop()
    const tookMs = names.flatMap((name) =>
      attemptsOf(here.hub, here.scene.streamIds.get(name))
        .filter(({ outcome }) => outcome === 'failed')
        .map(({ durationMs }) => durationMs),
    )
    const longest = Math.max(...tookMs)
    assert.ok(longest < LATEST_MS, `an attempt took ${longest} ms`)
    return `${tookMs.length} attempts ended after ${Math.round(Math.min(...tookMs))} to ${Math.round(longest)} ms, deadline ${TIMEOUT_MS}`
  },
}

const later = (value: string): SinkAnswer => ({ status: 429, headers: { 'retry-after': value } })

const overloaded: Row = {
  id: 'E3',
  title: '500, 502, 503, 504; 429 with Retry-After in seconds, as a date, absurd, negative',
  expected: 'a schedule per class, Retry-After clamped; all delivered',
  // The longest time that an answer can ask for is a minute.
  bounds: { recoveryMs: 75_000 },
  async run(rig) {
    const here = await oneHub(rig)
    const answers: Record<string, SinkAnswer> = {
      500: 500,
      502: 502,
      503: 503,
      504: 504,
      seconds: later('2'),
      date: later(new Date(Date.now() + 3_000).toUTCString()),
      absurd: later('999999999'),
      negative: later('-5'),
    }
    const points: ScenePush[] = []
    for (const [name, answer] of Object.entries(answers)) {
      const point = await here.scene.addPush(name)
      point.sink.answerWith(() => answer)
      points.push(point)
    }
    const load = rig.load(here.scene)
    const told = await rig.during(async () => {
      const reasons = await failures(here, Object.keys(answers), 1)
      await healthyIsServed(here.scene)
      for (const { sink } of points) sink.answerWith(() => 202)
      return reasons
    })
    await load.stop()
    return told.join('; ')
  },
}

const redirecting: Row = {
  id: 'E4',
  title: '301, 302, 307, 308 to an inner and to a public address',
  expected: 'a failure; the Location is never contacted',
  async run(rig) {
    const here = await oneHub(rig)
    const canary = await startRawEndpoint(({ socket }) => socket.write(ACCEPTED), { host: '127.0.0.2' })
    rig.atEnd(() => canary.close())
    const points: ScenePush[] = []
    for (const status of [301, 302, 307, 308]) {
      for (const location of [canary.url, 'https://203.0.113.9/events']) {
        const point = await here.scene.addPush(`${status} to ${new URL(location).hostname}`)
        point.sink.answerWith(() => ({ status, headers: { location } }))
        points.push(point)
      }
    }
    const load = rig.load(here.scene)
    await rig.during(async () => {
      await failures(
        here,
        points.map(({ name }) => name),
        1,
      )
      await healthyIsServed(here.scene)
      for (const { sink } of points) sink.answerWith(() => 202)
    })
    await load.stop()
    assert.equal(canary.connections(), 0)
    return 'the canary was never contacted'
  },
}

const HUGE = Buffer.alloc(1 << 20, 'a')

const bloated: Row = {
  id: 'E5',
  title: 'an endless body, a gzip bomb, 100 MB of headers, bad chunks',
  expected: 'cut at the bound; memory stays',
  async run(rig) {
    const here = await oneHub(rig)
    const bomb = gzipSync(Buffer.alloc(100 << 20))
    const names = ['endless body', 'gzip bomb', 'huge headers', 'bad chunks']
    const load = rig.load(here.scene)
    await waitUntil('the hub is warm', () => load.accepted >= 120)
    await load.stop()
    const rss = () => readMetric(here.hub, 'process_resident_memory_bytes')
    const before = await rss()
    const attack = await misbehaving(rig, here, {
      'endless body': ({ socket }) => {
        socket.write('HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\n\r\n')
        flood(socket, HUGE)
      },
      'gzip bomb': ({ socket }) => {
        socket.write(`HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`)
        socket.write(bomb)
      },
      'huge headers': ({ socket }) => {
        socket.write('HTTP/1.1 500 No\r\nX-Huge: ')
        flood(socket, HUGE)
      },
      'bad chunks': ({ socket }) =>
        void socket.write('HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\nabc\r\n'),
    })
    let most = 0
    await rig.during(async () => {
      const failing = failures(here, names)
      let over = false
      const watching = (async () => {
        while (!over) {
          most = Math.max(most, await rss())
          await delay(100)
        }
      })()
      await failing.finally(() => {
        over = true
      })
      await watching
      await healthyIsServed(here.scene)
      attack.mend()
    })
    await attack.load.stop()
    const growth = Math.round((most - before) / 1_048_576)
    assert.ok(growth < 64, `memory grew by ${growth} MiB`)
    return `memory grew by ${growth} MiB at most`
  },
}

const untrusted: Row = {
  id: 'E6',
  title: 'TLS: expired, wrong host, self-signed, stalled handshake',
  expected: 'a failure with its cause; no SET leaves',
  async run(rig) {
    const here = await oneHub(rig)
    const certificates = {
      expired: selfSigned('127.0.0.1', '210101000000Z'),
      'wrong host': selfSigned('other.example'),
      'self-signed': selfSigned('localhost'),
    }
    const endpoints: RawEndpoint[] = []
    for (const [name, tls] of Object.entries(certificates)) {
      const endpoint = await startRawEndpoint(() => {}, { tls })
      endpoints.push(endpoint)
      await here.scene.addPushTo(name, endpoint.url)
    }
    const silent = await startRawEndpoint(() => {})
    endpoints.push(silent)
    await here.scene.addPushTo('stalled', silent.url.replace('http:', 'https:'))
    rig.atEnd(() => Promise.all(endpoints.map((endpoint) => endpoint.close())))
    const names = [...Object.keys(certificates), 'stalled']
    // Nobody there can be believed.
    for (const name of names) here.scene.ledger.release(name)
    const load = rig.load(here.scene)
    const told = await rig.during(async () => {
      const reasons = await failures(here, names, 1)
      await healthyIsServed(here.scene)
      return reasons
    })
    await load.stop()
    for (const endpoint of endpoints) assert.equal(endpoint.requests(), 0)
    return told.join('; ')
  },
}

interface Parked {
  readonly id: string
  readonly code: string
}

async function replayAll(scene: FaultScene, streamId: string | undefined): Promise<number> {
  const path = `/v1/parked?stream_id=${streamId}`
  let count = 0
  for (;;) {
    const { items } = await scene.admin.call<{ items: Parked[] }>('GET', path)
    if (items.length === 0) return count
    for (const { id } of items) await scene.admin.ask('POST', `/v1/parked/${id}/replay`)
    count += items.length
  }
}

const refusing: Row = {
  id: 'E7',
  title: '400 with an RFC 8935 err',
  expected: 'recorded and parked, not retried for ever; replayed it goes out',
  async run(rig) {
    const here = await oneHub(rig)
    const point = await here.scene.addPush('refuses')
    point.sink.answerWith(() => ({ status: 400, body: { err: 'invalid_key', description: 'no such kid' } }))
    const load = rig.load(here.scene)
    const replayed = await rig.during(async () => {
      await waitUntil('some are parked', async () => {
        const path = `/v1/parked?stream_id=${point.streamId}`
        const { items } = await here.scene.admin.call<{ items: Parked[] }>('GET', path)
        return items.length >= 5 && items.every(({ code }) => code === 'invalid_key')
      })
      await load.stop()
      await healthyIsServed(here.scene)
      point.sink.answerWith(() => 202)
      // What is on its way to be parked is parked a moment later.
      return await waitUntil('all went out', async () => {
        const count = await replayAll(here.scene, point.streamId)
        return here.scene.ledger.missing('refuses').length === 0 ? count + 1 : 0
      })
    })
    assert.ok(replayed > 0)
    return 'parked with code invalid_key; all of them went out when replayed'
  },
}

const forbidden: Row = {
  id: 'E8',
  title: '401, 403 and 410 for every SET',
  expected: 'nothing is dropped: all goes out once the endpoint takes it and the stream is enabled',
  bounds: { recoveryMs: 75_000 },
  async run(rig) {
    const here = await oneHub(rig)
    const points: ScenePush[] = []
    for (const status of [401, 403, 410]) {
      const point = await here.scene.addPush(String(status))
      point.sink.answerWith(() => status)
      points.push(point)
    }
    const load = rig.load(here.scene)
    const states = await rig.during(async () => {
      await failures(here, ['401', '403', '410'], 1)
      await delay(rig.scaled(60_000, 3_000))
      await load.stop()
      await healthyIsServed(here.scene)
      const seen: string[] = []
      for (const { name, receiver, sink, streamId } of points) {
        const path = `/ssf/status?stream_id=${streamId}`
        const { status } = await receiver.call<{ status: string }>('GET', path)
        seen.push(`${name}: ${status}`)
        sink.answerWith(() => 202)
        if (status !== 'enabled') await here.scene.admin.call('POST', `/v1/streams/${streamId}/enable`, {})
        await replayAll(here.scene, streamId)
      }
      return seen
    })
    return `streams then: ${states.join(', ')}`
  },
}

const staleSocket: Row = {
  id: 'E9',
  title: 'a kept-alive socket is closed as it is used again',
  expected: 'sent again on another, one effect',
  async run(rig) {
    const here = await oneHub(rig)
    let cut = 0
    const { load, mend } = await misbehaving(rig, here, {
      'closes on reuse': ({ socket, body, number }) => {
        if (number > 1) {
          cut += 1
          socket.destroy()
          return
        }
        here.scene.ledger.received('closes on reuse', body)
        socket.write(ACCEPTED)
      },
    })
    await rig.during(async () => {
      await waitUntil('sockets were cut', () => cut >= 10)
      await load.stop()
      mend()
    })
    return `${cut} sockets were closed on reuse`
  },
}

const resetting: Row = {
  id: 'E10',
  title: 'the endpoint takes a SET and resets the connection before it answers',
  expected: 'the same jti again, one effect',
  bounds: { repeatsPart: 3 },
  async run(rig) {
    const here = await oneHub(rig)
    const seen = new Set<string>()
    let resets = 0
    const { load, mend } = await misbehaving(rig, here, {
      resets: ({ socket, body }) => {
        const jti = here.scene.ledger.received('resets', body)
        if (seen.has(jti)) {
          socket.write(ACCEPTED)
          return
        }
        seen.add(jti)
        resets += 1
        socket.resetAndDestroy()
      },
    })
    await rig.during(async () => {
      await waitUntil('answers were lost', () => resets >= 5)
      await load.stop()
      mend()
    })
    return `${resets} answers were lost`
  },
}

const flapping: Row = {
  id: 'E12',
  title: 'flaps every 3 s; back after 10 min',
  expected: 'delivered within one probe of its return',
  async run(rig) {
    const here = await oneHub(rig)
    const { scene } = here
    const point = await scene.addPush('flaps')
    const load = rig.load(scene)
    const firstMs = await rig.during(async () => {
      const end = performance.now() + rig.scaled(60_000, 9_000)
      while (performance.now() < end) {
        await point.sink.shut()
        await delay(1_500)
        await point.sink.open()
        await delay(1_500)
      }
      await point.sink.shut()
      await delay(rig.scaled(600_000, 6_000))
      await load.stop()
      const before = scene.ledger.receipts('flaps').length
      await point.sink.open()
      const began = performance.now()
      await waitUntil('the first SET', () => scene.ledger.receipts('flaps').length > before)
      return performance.now() - began
    })
    return `first SET ${(firstMs / 1000).toFixed(1)} s after its return`
  },
}

export const ENDPOINT_ROWS: readonly Row[] = [
  unreachable,
  slow,
  overloaded,
  redirecting,
  bloated,
  untrusted,
  refusing,
  forbidden,
  staleSocket,
  resetting,
  flapping,
]
