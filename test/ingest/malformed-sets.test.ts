import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import { exchange } from '../support/raw-exchange.js'
import {
  ec,
  HEADER,
  listLog,
  serveHandler,
  setOf,
  type TestServer,
  TRANSMITTER_ID,
  transmitterOf,
} from './ingest-fixture.js'
import { KEYS, mutated, QUARANTINED, REFUSED, rawRequests, withHeader } from './malformed-sets.js'

describe('ingest: malformed SETs at the endpoint', () => {
  const log = listLog()
  const logged: string[] = []
  let metrics: Metrics
  let server: TestServer
  let outgoingCalls = 0

  before(async () => {
    metrics = createMetrics()
    const clock = createClock()
    const transmitter: Transmitter = transmitterOf({ jwks: { keys: KEYS }, algorithms: ['RS256', 'ES256'] })
    const note = (event: string, fields?: object) => void logged.push(`${event} ${JSON.stringify(fields)}`)
    const logger = { debug: note, info: note, warn: note, error: note }
    const outgoing = {
      request: () => {
        outgoingCalls += 1
        return assert.fail('a request left')
      },
    }
    const keys = createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics })
    const ingest = createSetIngest({ clock, keys, budgets: createSourceBudgets(clock), log })
    const registry = { find: async (id: string) => (id === TRANSMITTER_ID ? transmitter : undefined) }
    server = await serveHandler(createIngestHandler({ registry, ingest, clock, logger, metrics }))
  })
  after(() => server.stop())
  beforeEach(() => {
    log.events.length = 0
    logged.length = 0
  })

  const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/ingest/${TRANSMITTER_ID}`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', ...headers },
      body,
    })

  for (const [title, body, err, status = 400] of REFUSED) {
    it(`refuses ${title} with ${err}`, async () => {
      const answer = await post(body)
      assert.equal(answer.status, status)
      assert.equal(answer.headers.get('content-type'), 'application/json')
      assert.equal(answer.headers.get('content-language'), 'en')
      const told = (await answer.json()) as Record<string, unknown>
      assert.deepEqual(Object.keys(told), ['err', 'description'])
      assert.equal(told.err, err)
      assert.ok(typeof told.description === 'string' && told.description.length > 10)
      assert.equal(log.events.length, 0)
      assert.equal(logged.length, 1)
      assert.match(logged[0] ?? '', /^set\.rejected /)
      assert.doesNotMatch(logged[0] ?? '', /eyJ|ada@example/)
      assert.equal(outgoingCalls, 0)
    })
  }

  for (const [title, body, reason] of QUARANTINED) {
    it(`stores ${title} as quarantined (${reason}) and answers 202`, async () => {
      const answer = await post(body)
      assert.equal(answer.status, 202)
      assert.equal(log.events[0]?.quarantine, reason)
      assert.equal(log.events[0]?.lane, 'routine')
      assert.match(logged[0] ?? '', /^set\.quarantined .*"reason"/)
    })
  }

  it('takes a good SET of any spelling the standard allows', async () => {
    for (const set of [
      setOf(),
      setOf({}, { typ: 'application/SECEVENT+JWT' }),
      setOf({}, { x5u: 'https://idp.example/cert' }),
      setOf({ aud: ['https://other.example', 'https://hub.example'] }),
      withHeader({ ...HEADER, alg: 'ES256', kid: 'ec' }, { key: ec.privateKey, alg: 'ES256' }),
    ]) {
      const answer = await post(set)
      assert.equal(answer.status, 202)
      assert.equal(await answer.text(), '')
    }
    assert.equal(log.events.length, 5)
  })

  it('takes a valid SET whatever its Content-Type says, and judges the body alone (R-39, ADR 0012)', async () => {
    // A body of bytes is sent without a type unless one is given.
    const send = (text: string, headers: Record<string, string>) =>
      fetch(`${server.url}/ingest/${TRANSMITTER_ID}`, { method: 'POST', headers, body: Buffer.from(text) })
    for (const type of ['text/html', 'application/json', 'x', undefined]) {
      const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type }
      assert.equal((await send(setOf(), headers)).status, 202, String(type))
      assert.equal((await send('{}', headers)).status, 400, String(type))
    }
  })

  it('refuses a Content-Encoding unread', async () => {
    const answer = await post(gzipSync(setOf()), { 'content-encoding': 'gzip' })
    assert.equal(answer.status, 400)
    assert.equal(((await answer.json()) as { err: string }).err, 'invalid_request')
    assert.equal(log.events.length, 0)
  })

  it('answers any mutation of a good SET with 4xx and stores nothing', async () => {
    const token = setOf()
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        fc.constantFrom('flip', 'drop', 'double', 'insert'),
        fc.integer({ min: 1, max: 255 }),
        async (at, how, byte) => {
          const answer = await post(mutated(token, { at, how, byte }))
          const { err } = (await answer.json()) as { err: string }
          assert.equal(answer.status, 400)
          assert.match(err, /^invalid_(request|key)$/)
        },
      ),
      { numRuns: 150 },
    )
    assert.equal(log.events.length, 0)
  })

  const raw = (text: string, end?: 'sent') => exchange(server.port, text, end)

  const start = `POST /ingest/${TRANSMITTER_ID} HTTP/1.1\r\nHost: hub\r\n`
  for (const [title, text] of rawRequests(`/ingest/${TRANSMITTER_ID}`)) {
    it(`answers 4xx to ${title} on the wire`, async () => {
      assert.match(await raw(text), /^HTTP\/1\.1 4\d\d /)
      assert.equal(log.events.length, 0)
    })
  }

  it('takes a chunked SET', async () => {
    const set = setOf()
    const text = `${start}Transfer-Encoding: chunked\r\n\r\n${set.length.toString(16)}\r\n${set}\r\n0\r\n\r\n`
    assert.match(await raw(text), /^HTTP\/1\.1 202 /)
  })

  it('stores nothing of a body that ends early, and lives on', async () => {
    const set = setOf()
    const answer = await raw(`${start}Content-Length: ${set.length}\r\n\r\n${set.slice(0, -10)}`, 'sent')
    assert.doesNotMatch(answer, / 5\d\d | 202 /)
    assert.equal(log.events.length, 0)
    assert.equal((await post(setOf())).status, 202)
  })

  it('counts what it refused by reason', async () => {
    const text = await metrics.render()
    for (const reason of [
      'invalid_key',
      'invalid_request',
      'invalid_issuer',
      'invalid_audience',
      'too_large',
    ]) {
      assert.match(text, new RegExp(`firebreak_sets_total\\{outcome="rejected",reason="${reason}"\\} [1-9]`))
    }
    assert.doesNotMatch(text, /outcome="failed"/)
  })
})
