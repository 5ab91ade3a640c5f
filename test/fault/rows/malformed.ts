import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { readMetric } from '../../support/hub-scene.js'
import { exchange } from '../../support/raw-exchange.js'
import { pushSet } from '../../support/set-producer.js'
import { waitUntil } from '../../support/wait.js'
import { alertIsOpen } from '../alerts.js'
import { healthyIsServed } from '../endpoint-scene.js'
import type { FaultHub, FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'
import type { RunningLoad } from '../running-load.js'
import { ask } from '../sql.js'

interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
  readonly load: RunningLoad
  readonly transmitterId: string
  readonly path: string
}

/** Made when it is needed: RSA keys take a while. */
const malformedSets = () => import('../../ingest/malformed-sets.js')
const fixture = () => import('../../ingest/ingest-fixture.js')

/** A hub under load, and beside its upstream one that sends what nobody should. */
async function besideOddSender(rig: FaultRig): Promise<Ready> {
  const hub = await rig.hub()
  const scene = await rig.scene([hub], { push: 1, poll: 0 })
  const [{ KEYS }, { ISSUER, AUDIENCE }] = [await malformedSets(), await fixture()]
  const { id } = await scene.admin.call<{ id: string }>('POST', '/v1/transmitters', {
    name: 'odd sender',
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: ['RS256', 'ES256'],
    jwks: { keys: KEYS },
    budget_per_s: 1_000_000,
  })
  const load = rig.load(scene)
  await load.goesOn(24, 'at first')
  return { hub, scene, load, transmitterId: id, path: `/ingest/${id}` }
}

interface Answered {
  readonly status: number
  readonly err: string | undefined
  readonly tookMs: number
}

async function post(
  { hub, path }: Ready,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answered> {
  const began = performance.now()
  const response = await fetch(hub.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/secevent+jwt', ...headers },
    body,
    signal: AbortSignal.timeout(20_000),
  })
  const text = await response.text()
  const told = text ? (JSON.parse(text) as { err?: string }) : {}
  return { status: response.status, err: told.err, tookMs: performance.now() - began }
}

/** Neither among the events nor on its way there. */
async function nothingStored({ scene, transmitterId, load }: Ready): Promise<void> {
  await load.goesOn(24, 'afterwards')
  // What was appended before them has been read by then.
  await healthyIsServed(scene)
  const found = await ask(scene.databaseUrl, 'select event_id from events where source_id = $1', [
    transmitterId,
  ])
  assert.equal(found.length, 0, `${found.length} were stored`)
}

const speed = (all: readonly number[]): string => {
  const sorted = [...all].sort((a, b) => a - b)
  return `p50 ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms, max ${Math.round(sorted.at(-1) ?? 0)} ms`
}

const refused: Row = {
  id: 'S1',
  title: 'SETs that cannot be parsed, verified or addressed, of every kind known',
  expected: '4xx with the right err; nothing stored; the log has no content; the others are served',
  async run(rig) {
    const here = await besideOddSender(rig)
    const { REFUSED } = await malformedSets()
    const tookMs: number[] = []
    const from = here.hub.output().length
    await rig.during(async () => {
      for (const [title, body, err, status = 400] of REFUSED) {
        const answer = await post(here, body)
        assert.deepEqual([answer.status, answer.err], [status, err], title)
        tookMs.push(answer.tookMs)
      }
      const zipped = await post(here, gzipSync('a.b.c'), { 'content-encoding': 'gzip' })
      assert.deepEqual([zipped.status, zipped.err], [400, 'invalid_request'])
    })
    await nothingStored(here)
    await here.load.stop()
    const lines = here.hub.output().slice(from).split('\n')
    const told = lines.filter((line) => line.includes('"set.rejected"'))
    assert.ok(told.length > REFUSED.length, `${told.length} lines tell of ${REFUSED.length + 1} refusals`)
    for (const line of told) assert.doesNotMatch(line, /eyJ|ada@example/)
    return `${REFUSED.length + 1} kinds, each refused; ${speed(tookMs)}`
  },
}

const HOW = ['flip', 'drop', 'double', 'insert'] as const

const fuzzed: Row = {
  id: 'S2',
  title: 'a good SET with one byte changed, dropped, doubled or put in, over and over',
  expected: 'always 400, never 5xx; nothing stored',
  async run(rig) {
    const here = await besideOddSender(rig)
    const [{ mutated }, { setOf }] = [await malformedSets(), await fixture()]
    const set = setOf()
    const rounds = Math.round(rig.scaled(20_000, 400))
    const tookMs: number[] = []
    await rig.during(async () => {
      for (let n = 0; n < rounds; n += 1) {
        const at = Math.floor(rig.random() * set.length)
        const how = HOW[Math.floor(rig.random() * HOW.length)] ?? 'flip'
        const change = { at, how, byte: 1 + Math.floor(rig.random() * 255) }
        const answer = await post(here, mutated(set, change))
        assert.equal(answer.status, 400, JSON.stringify(change))
        assert.match(answer.err ?? '', /^invalid_(request|key)$/)
        tookMs.push(answer.tookMs)
      }
    })
    await nothingStored(here)
    await here.load.stop()
    return `${rounds} mutations, each 400; ${speed(tookMs)}`
  },
}

const onTheWire: Row = {
  id: 'S3',
  title:
    'what no HTTP client would write: broken lengths, codings, headers and chunks; a body that ends early',
  expected: '4xx or a closed connection; nothing stored',
  async run(rig) {
    const here = await besideOddSender(rig)
    const [{ rawRequests }, { setOf }] = [await malformedSets(), await fixture()]
    const requests = rawRequests(here.path)
    await rig.during(async () => {
      for (const [title, text] of requests) {
        assert.match(await exchange(here.hub.port, text), /^HTTP\/1\.1 4\d\d /, title)
      }
      const set = setOf()
      const short = `POST ${here.path} HTTP/1.1\r\nHost: hub\r\nContent-Length: ${set.length}\r\n\r\n${set.slice(0, -9)}`
      assert.doesNotMatch(await exchange(here.hub.port, short), / (5\d\d|202) /)
    })
    await nothingStored(here)
    await here.load.stop()
    return `${requests.length + 1} broken requests`
  },
}

const odd: Row = {
  id: 'S4',
  title: 'verified SETs of an unknown type, without a subject, with odd members or a time to come',
  expected: '202, stored, set aside and counted; sent to nobody',
  async run(rig) {
    const here = await besideOddSender(rig)
    const { QUARANTINED } = await malformedSets()
    await rig.during(async () => {
      for (const [title, body] of QUARANTINED) assert.equal((await post(here, body)).status, 202, title)
      const aside = () =>
        ask<{ quarantine: string | null }>(
          here.scene.databaseUrl,
          'select quarantine from events where source_id = $1',
          [here.transmitterId],
        )
      await waitUntil('all are stored', async () => (await aside()).length === QUARANTINED.length)
      assert.deepEqual(
        (await aside()).map(({ quarantine }) => quarantine).sort(),
        QUARANTINED.map(([, , reason]) => reason).sort(),
      )
    })
    await here.load.stop()
    const sent = await ask(here.scene.databaseUrl, 'select event_id from deliveries where source_id = $1', [
      here.transmitterId,
    ])
    assert.equal(sent.length, 0)
    return `${QUARANTINED.length} kinds, each stored and set aside with its reason`
  },
}

const repeated: Row = {
  id: 'S5',
  title: 'a jti for the second time: with the same content, and with another',
  expected: '202 each time, one effect; the other content is counted, and an alert tells',
  quick: true,
  async run(rig) {
    const hub = await rig.hub()
    const scene = await rig.scene([hub], { push: 1, poll: 0 })
    const [url = ''] = scene.ingestUrls
    const load = rig.load(scene)
    const rounds = Math.max(5, Math.round(100 * rig.scale))
    await rig.during(async () => {
      for (let n = 0; n < rounds; n += 1) {
        const jti = `repeated ${n}`
        const set = await scene.push({ txn: jti, jti })
        // Another subject is another slot of the log, which may be read first.
        await waitUntil('it is there', () => !scene.ledger.missing('push 1').includes(jti))
        assert.equal(await pushSet(url, set), 202)
        const other = await scene.upstream.sign({ txn: `other ${n}`, jti, user: 'mallory' })
        assert.equal(await pushSet(url, other), 202)
      }
      const conflicts = () => readMetric(hub, 'firebreak_conflicting_repeats_total')
      await waitUntil('the conflicts are counted', async () => (await conflicts()) === rounds)
      await alertIsOpen(scene, 'conflicting_repeat')
      await waitUntil('the conflicts are logged', () => hub.output().includes('set.conflicting_repeat'))
    })
    await load.stop()
    const stray = scene.ledger.receipts('push 1').filter(({ txn }) => txn.startsWith('other '))
    assert.equal(stray.length, 0, `${stray.length} took effect under a jti of others`)
    return `${rounds} times: one effect each, and each other content counted`
  },
}

export const MALFORMED_ROWS: readonly Row[] = [refused, fuzzed, onTheWire, odd, repeated]
