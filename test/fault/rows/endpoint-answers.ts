import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { readMetric, type ScenePush } from '../../support/hub-scene.js'
import type { SinkAnswer } from '../../support/set-sink.js'
import { waitUntil } from '../../support/wait.js'
import { alertIsOpen } from '../alerts.js'
import { failures, healthyIsServed, misbehaving, oneHub } from '../endpoint-scene.js'
import { ACCEPTED, flood, startRawEndpoint } from '../raw-endpoint.js'
import type { FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

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
  title: 'a body of 1 GiB, one without end, a gzip bomb, 100 MB of headers, bad chunks',
  expected: 'cut at the bound; memory stays',
  async run(rig) {
    const here = await oneHub(rig)
    const bomb = gzipSync(Buffer.alloc(100 << 20))
    const names = ['a body of 1 GiB', 'endless body', 'gzip bomb', 'huge headers', 'bad chunks']
    const load = rig.load(here.scene)
    await load.goesOn(120, 'until the hub is warm')
    await load.stop()
    const rss = () => readMetric(here.hub, 'process_resident_memory_bytes')
    const before = await rss()
    const attack = await misbehaving(rig, here, {
      'a body of 1 GiB': ({ socket }) => {
        socket.write('HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\n\r\n')
        flood(socket, HUGE)
      },
      'endless body': ({ socket }) => {
        socket.write('HTTP/1.1 500 No\r\nConnection: close\r\n\r\n')
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
      // Heard of where it is awaited.
      watching.catch(() => {})
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
      let count = 0
      // What is on its way to be parked is parked a moment later.
      await waitUntil('all went out', async () => {
        count += await replayAll(here.scene, point.streamId)
        const open = await ask(
          here.scene.databaseUrl,
          'select event_id from delivery_queue where stream_id = $1 limit 1',
          [point.streamId],
        )
        return open.length === 0 && here.scene.ledger.missing('refuses').length === 0
      })
      return count
    })
    assert.ok(replayed > 0)
    return `${replayed} parked with code invalid_key; all of them went out when replayed`
  },
}

const forbidden: Row = {
  id: 'E8',
  title: '401, 403 and 410 for every SET',
  expected:
    'an alert tells; 410 pauses the stream at once; nothing is dropped, it goes on by itself when it is mended',
  bounds: { recoveryMs: 75_000 },
  async run(rig) {
    const here = await oneHub(rig, { ALERT_STREAM_FAILING_MS: '1000' })
    const points: ScenePush[] = []
    for (const status of [401, 403, 410]) {
      const point = await here.scene.addPush(String(status))
      point.sink.answerWith(() => status)
      points.push(point)
    }
    const statusOf = async ({ receiver, streamId }: ScenePush) =>
      (await receiver.call<{ status: string }>('GET', `/ssf/status?stream_id=${streamId}`)).status
    const load = rig.load(here.scene)
    const states = await rig.during(async () => {
      await failures(here, ['401', '403', '410'], 1)
      for (const { streamId } of points) await alertIsOpen(here.scene, 'stream_failing', `stream:${streamId}`)
      await waitUntil('410 pauses', async () => (await statusOf(points[2] as ScenePush)) === 'paused')
      await delay(rig.scaled(60_000, 1_000))
      await load.stop()
      await healthyIsServed(here.scene)
      const seen: string[] = []
      for (const point of points) {
        seen.push(`${point.name}: ${await statusOf(point)}`)
        point.sink.answerWith(() => 202)
        await replayAll(here.scene, point.streamId)
      }
      return seen
    })
    await waitUntil(
      'all are enabled again',
      async () => (await Promise.all(points.map(statusOf))).every((status) => status === 'enabled'),
      { deadlineMs: 75_000 },
    )
    return `while they failed: ${states.join(', ')}; enabled again by itself`
  },
}

/** What endpoints answer. */
export const ENDPOINT_ANSWER_ROWS: readonly Row[] = [overloaded, redirecting, bloated, refusing, forbidden]
