import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { selfSigned } from '../../outgoing/certificate.js'
import { createAuthority } from '../../support/certificates.js'
import { waitUntil } from '../../support/wait.js'
import { failures, healthyIsServed, misbehaving, oneHub, TIMEOUT_MS } from '../endpoint-scene.js'
import { attemptsOf, startBlackHole } from '../endpoint-watch.js'
import { ACCEPTED, drip, type RawEndpoint, startRawEndpoint } from '../raw-endpoint.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

/** A total deadline ± 10 %, and what two slow cores add. */
const LATEST_MS = TIMEOUT_MS * 1.1 + 400

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
    // Such a name is refused when a stream is made: this one went away later.
    const { streamId } = await scene.addPushTo('no such name', hole.url)
    await ask(scene.databaseUrl, 'update streams set endpoint_url = $2 where stream_id = $1', [
      streamId,
      'https://endpoint.invalid/events',
    ])
    await here.hub.revive()
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

const untrusted: Row = {
  id: 'E6',
  title: 'TLS: expired, wrong host, self-signed, stalled handshake',
  expected: 'a failure with its cause; no SET leaves',
  async run(rig) {
    const here = await oneHub(rig)
    // Believed, so that each is refused for its own fault and no other.
    const authority = await createAuthority()
    rig.atEnd(() => authority.remove())
    const certificates = {
      expired: await authority.issue({ name: '127.0.0.1', days: -1 }),
      'wrong host': await authority.issue({ name: 'other.example' }),
      'self-signed': selfSigned('127.0.0.1'),
    }
    const endpoints: RawEndpoint[] = []
    for (const [name, tls] of Object.entries(certificates)) {
      const endpoint = await startRawEndpoint(() => {}, { tls })
      endpoints.push(endpoint)
      const { streamId } = await here.scene.addPushTo(name, endpoint.url)
      await here.scene.admin.call('PUT', `/v1/streams/${streamId}/tls`, { ca: authority.cert })
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
    for (const [index, cause] of [/expired/i, /altname/i, /self.signed/i, /deadline/i].entries())
      assert.match(told[index] ?? '', cause)
    return told.join('; ')
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
  waits: true,
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

/** How endpoints are reached, and are not. */
export const ENDPOINT_ROWS: readonly Row[] = [unreachable, slow, untrusted, staleSocket, resetting, flapping]
