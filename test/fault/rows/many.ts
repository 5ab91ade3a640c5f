import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { addPushStream, addReceiver, hubApi } from '../../support/hub-api.js'
import { pushLoad, pushSet } from '../../support/set-producer.js'
import { createUpstream, HUB_AUDIENCE, SESSION_REVOKED } from '../../support/upstream.js'
import { waitUntil } from '../../support/wait.js'
import { type EndpointFarm, startEndpointFarm } from '../endpoint-farm.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

const AT_ONCE = 8

interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly farm: EndpointFarm
  readonly names: readonly string[]
}

/** A hub with so many push streams, each with a path of its own on one port. */
async function withStreams(rig: FaultRig, count: number): Promise<Ready> {
  const hub = await rig.hub()
  const scene = await rig.scene([hub], { push: 0, poll: 0 })
  const farm = await startEndpointFarm((name, set) => void scene.ledger.received(name, set))
  rig.atEnd(() => farm.close())
  const names = Array.from({ length: count }, (_, n) => `stream ${n}`)
  const left = [...names]
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      await scene.addPushTo(name, farm.urlOf(name))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return { hub, scene, farm, names }
}

/** Pushes so many events to all streams, and answers when the last of these streams had them, ms. */
async function pushToAll({ scene }: Ready, names: readonly string[], count: number): Promise<number> {
  const began = performance.now()
  await pushLoad({
    upstream: scene.upstream,
    ledger: scene.ledger,
    urls: scene.ingestUrls,
    count,
    types: [SESSION_REVOKED],
  })
  await waitUntil(
    'every stream has them',
    () => names.every((name) => scene.ledger.missing(name).length === 0),
    {
      deadlineMs: 120_000,
      detail: () => `${names.filter((name) => scene.ledger.missing(name).length > 0).length} do not`,
    },
  )
  return performance.now() - began
}

const idle: Row = {
  id: 'O1',
  title: '10,000 idle streams, then one event for all of them',
  expected: 'each gets it once; the time of the last, and memory, printed',
  bounds: { rssMiB: 768 },
  async run(rig) {
    const here = await withStreams(rig, Math.round(rig.scaled(10_000, 200)))
    await delay(1_000)
    const tookMs = await rig.during(() => pushToAll(here, here.names, 1))
    return `${here.names.length} streams had it after ${Math.round(tookMs)} ms`
  },
}

interface Neighbours {
  /** Streams of the catalogue. */
  readonly count: number
  /** Each so manieth one is broken. */
  readonly oneIn: number
  readonly mood: 'fails' | 'is silent'
}

/** The same load on the same hub, without and with broken streams among the others. */
function neighbours(row: Pick<Row, 'id' | 'title' | 'expected'>, { count, oneIn, mood }: Neighbours): Row {
  return {
    ...row,
    bounds: { rssMiB: 768, recoveryMs: 60_000 },
    async run(rig) {
      const here = await withStreams(rig, Math.round(rig.scaled(count, 200)))
      const broken = here.names.filter((_, n) => n % oneIn === 0)
      const healthy = here.names.filter((name) => !broken.includes(name))
      const events = here.names.length > 2_000 ? 2 : 10
      await pushToAll(here, here.names, events)
      const base = await p99While(here, () => pushToAll(here, here.names, events))
      const busy = await rig.during(async () => {
        for (const name of broken) here.farm.moods.set(name, mood)
        const p99 = await p99While(here, () => pushToAll(here, healthy, events))
        here.farm.moods.clear()
        return p99
      })
      assert.ok(busy < base * 1.5 + 1_000, `p99 ${busy} ms against ${base} ms without broken ones`)
      return `p99 of ${healthy.length} healthy streams ${busy} ms, before it ${base} ms: ${(busy / base).toFixed(2)} times; ${broken.length} broken`
    },
  }
}

/** Of the times to revoke of all that is sent meanwhile and has arrived in the end, ms. */
async function p99While({ scene }: Ready, work: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now()
  await work()
  const times = scene.ledger.timesToRevoke({ fromMs, toMs: performance.now() }).sort((a, b) => a - b)
  return Math.round(times[Math.ceil(times.length * 0.99) - 1] ?? 0)
}

const flood: Row = {
  id: 'O3',
  title: 'a mass logout by one source, many times its budget, and revocations by another',
  expected: 'the flooding source meets its budget; revocations of the other go past its backlog',
  bounds: { recoveryMs: 120_000 },
  async run(rig) {
    const hub = await rig.hub()
    const scene = await rig.scene([hub], { push: 1, poll: 0 })
    const other = await floodingSource(scene)
    rig.atEnd(() => other.stop())
    const idleMs = await oneByOne(scene, 'before', 20)
    const count = Math.round(rig.scaled(500_000, 3_000))
    const busyMs = await rig.during(async () => {
      const flooding = other.flood(count)
      // Heard of where it is awaited.
      flooding.catch(() => {})
      await waitUntil('the flood is over its budget', () => (other.answers().get(429) ?? 0) > 0)
      const times = await oneByOne(scene, 'meanwhile', 20)
      other.stop()
      await flooding
      return times
    })
    const answers = other.answers()
    assert.deepEqual([...answers.keys()].sort(), [202, 429])
    assert.ok(busyMs < idleMs * 3 + 1_000, `${busyMs} ms beside the flood, ${idleMs} ms before it`)
    return `${answers.get(202)} SETs of the flood, ${answers.get(429)} times sent away with 429; one revocation of another source: ${idleMs} ms before, ${busyMs} ms meanwhile (medians)`
  },
}

/** Pushes revocations one after the other. Answers the median of their times to revoke, ms. */
async function oneByOne(scene: FaultScene, mark: string, count: number): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < count; n += 1) {
    const txn = `${mark} ${n}`
    const began = performance.now()
    await scene.push({ txn, user: txn })
    const has = () => scene.ledger.receipts('push 1').some((receipt) => receipt.txn === txn)
    await waitUntil(`${txn} arrives`, has, { deadlineMs: 20_000 })
    times.push(performance.now() - began)
  }
  return Math.round(times.sort((a, b) => a - b)[count >> 1] as number)
}

interface FloodingSource {
  flood(count: number): Promise<void>
  stop(): void
  /** How often it was answered by each status; 0: by none. */
  answers(): ReadonlyMap<number, number>
}

/** A second upstream, with a small budget. */
async function floodingSource(scene: FaultScene): Promise<FloodingSource> {
  const upstream = await createUpstream('flood')
  const { id } = await scene.admin.call<{ id: string }>('POST', '/v1/transmitters', {
    name: 'flood',
    issuer: upstream.issuer,
    audience: HUB_AUDIENCE,
    algorithms: ['ES256'],
    jwks: upstream.jwks,
    budget_per_s: 20,
  })
  const url = `${new URL(scene.ingestUrls[0] as string).origin}/ingest/${id}`
  let stopped = false
  const answers = new Map<number, number>()
  return {
    answers: () => answers,
    stop() {
      stopped = true
    },
    async flood(count) {
      let next = 0
      const work = async () => {
        while (next < count && !stopped) {
          next += 1
          const txn = `flood ${next}`
          const status = (await pushSet(url, await upstream.sign({ txn, user: txn }))) ?? 0
          answers.set(status, (answers.get(status) ?? 0) + 1)
          if (status === 202) scene.ledger.accepted(txn)
        }
      }
      await Promise.all(Array.from({ length: 16 }, work))
    },
  }
}

const added: Row = {
  id: 'O4',
  title: 'a subject added through one hub, and 5 ms later an event about it through the other',
  expected: 'delivered, each time; nothing about a stranger',
  async run(rig) {
    const [one, other] = await rig.twoHubs()
    const scene = await rig.scene([one, other], { push: 0, poll: 0 })
    const point = await scene.addPush('of some subjects', { default_subjects: 'NONE' })
    const count = Math.max(20, Math.round(200 * rig.scale))
    await rig.during(async () => {
      for (let n = 0; n < count; n += 1) {
        const [adds, takes] = n % 2 === 0 ? [one, other] : [other, one]
        const sub = `user ${n}`
        const subject = { format: 'iss_sub', iss: scene.upstream.issuer, sub }
        const [ingest = ''] = scene.ingestUrls.filter((url) => url.startsWith(takes.url))
        const body = { stream_id: point.streamId, subject }
        await hubApi(() => adds.url, point.token).call('POST', '/ssf/subjects/add', body)
        await delay(5)
        await scene.push({ txn: `about ${sub}`, user: sub }, ingest)
        const stranger = await scene.upstream.sign({ txn: `about stranger ${n}`, user: `stranger ${n}` })
        assert.equal(await pushSet(ingest, stranger), 202)
      }
      const strangers = () => ask(scene.databaseUrl, `select txn from events where txn like '% stranger %'`)
      await waitUntil('all are stored', async () => (await strangers()).length === count)
      await waitUntil('all that is due arrives', scene.ledger.complete)
      await waitUntil('nothing is under way', async () => {
        const open = await ask(scene.databaseUrl, 'select event_id from delivery_queue limit 1')
        return open.length === 0
      })
    })
    const came = scene.ledger.receipts(point.name).filter(({ txn }) => txn.startsWith('about stranger'))
    assert.equal(came.length, 0, `${came.length} events about strangers came`)
    return `${count} subjects, each matched by an event of 5 ms later; none of ${count} strangers`
  },
}

const ring: Row = {
  id: 'O5',
  title: 'three hubs in a ring, each a transmitter of the next',
  expected: 'every event goes round once at most, and comes to rest',
  async run(rig) {
    const hubs = [await rig.hub(), await rig.hub(), await rig.hub()]
    const scene = await rig.scene([hubs[0] as FaultHub], { push: 1, poll: 0 })
    const urls = hubs.map(({ env }) => env.DATABASE_URL as string)
    for (const [place, hub] of hubs.entries()) {
      const next = hubs[(place + 1) % hubs.length] as FaultHub
      const admin = hubApi(() => hub.url, hub.adminToken)
      const { token, audience } = await addReceiver(admin, 'the next hub')
      const { ingest_url } = await hubApi(() => next.url, next.adminToken).call<{ ingest_url: string }>(
        'POST',
        '/v1/transmitters',
        { name: 'the hub before', issuer: hub.url, jwks_uri: `${hub.url}/ssf/jwks.json`, audience },
      )
      await addPushStream(
        hubApi(() => hub.url, token),
        ingest_url,
        [SESSION_REVOKED],
      )
    }
    const count = Math.max(20, Math.round(200 * rig.scale))
    const stored = async () =>
      Promise.all(
        urls.map(
          async (url) => (await ask<{ n: number }>(url, 'select count(*)::int n from events'))[0]?.n ?? 0,
        ),
      )
    const open = async () =>
      Promise.all(
        urls.map(
          async (url) =>
            (await ask<{ n: number }>(url, 'select count(*)::int n from delivery_queue'))[0]?.n ?? 0,
        ),
      )
    await rig.during(async () => {
      for (let n = 0; n < count; n += 1) await scene.push({ txn: `round ${n}`, user: `round ${n}` })
      await waitUntil('all went round', async () => (await stored()).every((found) => found >= count), {
        deadlineMs: 60_000,
      })
      await waitUntil('nothing is under way', async () => (await open()).every((found) => found === 0), {
        deadlineMs: 60_000,
      })
    })
    const before = await stored()
    await delay(3_000)
    assert.deepEqual(await stored(), before, 'events still go round')
    assert.ok(
      before.every((found) => found <= 2 * count),
      `${before} events of ${count}`,
    )
    return `${count} events are ${before.join(', ')} at the three hubs, and nothing moves`
  },
}

export const MANY_ROWS: readonly Row[] = [
  neighbours(
    {
      id: 'E11',
      title: 'one endpoint of a thousand never answers',
      expected: 'the others are served as if it were not there; it gets all when it is back',
    },
    { count: 1_000, oneIn: 1_000, mood: 'is silent' },
  ),
  idle,
  neighbours(
    {
      id: 'O2',
      title: '10,000 streams of which one in a hundred fails',
      expected: 'the others are served as if these were not there; these get all when they are mended',
    },
    { count: 10_000, oneIn: 100, mood: 'fails' },
  ),
  flood,
  added,
  ring,
]
