import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { hashSecret } from '../../src/auth/secrets.js'
import { LogUnavailable } from '../../src/eventlog/event-log.js'
import type { AdmissionLimits } from '../../src/ingest/admission.js'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import { SealBroken } from '../../src/keys/aead.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { waitUntil } from '../support/wait.js'
import {
  claimsOf,
  listLog,
  listLogger,
  manualClock,
  serveHandler,
  setOf,
  type TestServer,
  TRANSMITTER_ID,
  transmitterOf,
} from './ingest-fixture.js'

interface Setup {
  transmitter?: Partial<Transmitter>
  log?: { append(events: readonly SecurityEvent[]): Promise<void> }
  find?: (id: string) => Promise<Transmitter | undefined>
  limits?: AdmissionLimits
  appendDeadlineMs?: number
  issuerPath?: string
  bodyTimeMs?: number
}

describe('ingest: the push endpoint', () => {
  let server: TestServer | undefined
  let log: ReturnType<typeof listLog>
  let clock: ReturnType<typeof manualClock>
  let metrics: Metrics
  let lines: ReturnType<typeof listLogger>['lines']

  afterEach(async () => {
    await server?.stop()
    server = undefined
  })

  async function start(setup: Setup = {}): Promise<void> {
    log = listLog()
    clock = manualClock()
    metrics = createMetrics()
    const listed = listLogger()
    lines = listed.lines
    const transmitter = transmitterOf(setup.transmitter)
    const outgoing = { request: () => assert.fail('a request left') }
    const ingest = createSetIngest({
      clock,
      keys: createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics }),
      budgets: createSourceBudgets(clock),
      log: setup.log ?? log,
      ...(setup.appendDeadlineMs && { appendDeadlineMs: setup.appendDeadlineMs }),
    })
    const find = setup.find ?? (async (id) => (id === TRANSMITTER_ID ? transmitter : undefined))
    server = await serveHandler(
      createIngestHandler({
        registry: { find },
        ingest,
        clock,
        logger: listed.logger,
        metrics,
        ...(setup.limits && { limits: setup.limits }),
        addressOf: (req) => String(req.headers['x-test-address'] ?? '192.0.2.1'),
        ...(setup.bodyTimeMs && { bodyTimeMs: setup.bodyTimeMs }),
        ...(setup.issuerPath && { issuerPath: setup.issuerPath }),
      }),
    )
  }

  const post = (body: string, headers: Record<string, string> = {}, path = `/ingest/${TRANSMITTER_ID}`) =>
    fetch(`${server?.url}${path}`, { method: 'POST', headers, body })
  const codeOf = async (answer: Response) => ((await answer.json()) as { code: string }).code

  it('answers 202 without a body, and only after the log has the event', async () => {
    let release: () => void = () => {}
    let appended: readonly SecurityEvent[] = []
    const append = (events: readonly SecurityEvent[]) => {
      appended = events
      return new Promise<void>((resolve) => {
        release = resolve
      })
    }
    await start({ log: { append } })
    let answered = false
    const pending = post(setOf()).then((answer) => {
      answered = true
      return answer
    })
    await waitUntil('the append', () => appended.length > 0)
    assert.equal(answered, false)
    release()
    const answer = await pending
    assert.equal(answer.status, 202)
    assert.equal(answer.headers.get('content-length'), '0')
    assert.equal(answer.headers.get('cache-control'), 'no-store')
  })

  it('appends what the SET says, with hub order, source and the upstream txn', async () => {
    await start()
    const claims = claimsOf({ txn: 'cause-1', jti: 'j-1' })
    assert.equal((await post(setOf(claims))).status, 202)
    assert.equal((await post(setOf({ jti: 'j-2' }))).status, 202)
    const [first, second] = log.events
    assert.equal(first?.type, CAEP.sessionRevoked)
    assert.equal(first?.lane, 'urgent')
    assert.equal(first?.effect, 'tightens')
    assert.equal(first?.txn, 'cause-1')
    assert.equal(first?.sourceJti, 'j-1')
    assert.equal(first?.sourceId, TRANSMITTER_ID)
    assert.deepEqual(first?.subject, { format: 'email', email: 'ada@example.com' })
    assert.match(second?.txn ?? '', /^[0-9a-f-]{36}$/)
    assert.ok((first?.eventId ?? '') < (second?.eventId ?? ''))
    assert.equal(first?.acceptedAtMs, Math.floor(clock.now()))
  })

  it('takes a repeat again, with the same content hash; other content has another', async () => {
    await start()
    const claims = claimsOf({ jti: 'j-1' })
    for (const set of [
      setOf(claims),
      setOf(claims),
      setOf({ ...claims, sub_id: { format: 'email', email: 'b@example.com' } }),
    ]) {
      assert.equal((await post(set)).status, 202)
    }
    const [a, b, c] = log.events.map((event) => event.contentHash)
    assert.equal(a, b)
    assert.notEqual(a, c)
  })

  it('counts by name what it forgave: switches of the transmitter, old spellings, offers of keys', async () => {
    await start({ transmitter: { tolerances: { allowSub: true, sessionIdAll: true } } })
    const user = { format: 'opaque', id: 'u-1' }
    const sub_id = { user, session: { format: 'opaque', id: 'ALL' } }
    const forgiven = setOf({ sub: 'ada', txn: 7, sub_id }, { jku: 'https://idp.example/keys' })
    assert.equal((await post(forgiven)).status, 202)
    assert.equal((await post(setOf({ exp: 4_000_000_000 }))).status, 400)
    assert.deepEqual(log.events[0]?.subject, { format: 'complex', user })
    const found = [...(await metrics.render()).matchAll(/_tolerated_total\{tolerance="(\w+)"\} (\d)/g)]
    const names = ['allow_sub', 'complex_without_format', 'jku', 'missing_reason_admin', 'numeric_txn']
    assert.deepEqual(
      found.map(([, name, count]) => `${name} ${count}`).sort(),
      [...names, 'session_id_all'].map((name) => `${name} 1`),
    )
  })

  it('knows no transmitter at an unknown, malformed or disabled address', async () => {
    await start({ transmitter: { enabled: false } })
    for (const id of [
      TRANSMITTER_ID,
      '0193a6f0-0000-7000-8000-00000000000b',
      'x',
      '',
      '../v1/events',
      `${TRANSMITTER_ID}/x`,
    ]) {
      const answer = await post(setOf(), {}, `/ingest/${encodeURIComponent(id)}`)
      assert.equal(answer.status, 404, id)
      assert.equal(await codeOf(answer), 'ERR_NOT_FOUND')
    }
    assert.equal(log.events.length, 0)
  })

  it('looks at no query', async () => {
    await start()
    assert.equal((await post(setOf(), {}, `/ingest/${TRANSMITTER_ID}?a=/ingest/x`)).status, 202)
    assert.equal((await post(setOf(), {}, `/?a=/ingest/${TRANSMITTER_ID}`)).status, 418)
  })

  it('leaves every other path to express', async () => {
    await start()
    for (const path of ['/', '/ingest', '/ingests/x', '/v1/ingest/x']) {
      assert.equal((await post('x', {}, path)).status, 418, path)
    }
  })

  it('asks for the registered Authorization header before anything else', async () => {
    await start({ transmitter: { authorizationHash: hashSecret('Bearer right') } })
    for (const headers of [
      {},
      { authorization: 'Bearer wrong' },
      { authorization: 'Bearer right ' + 'x' },
      { authorization: 'bearer right' },
    ]) {
      const answer = await post('not even a SET', headers as Record<string, string>)
      assert.equal(answer.status, 401)
      assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer/)
      assert.equal(((await answer.json()) as { err: string }).err, 'authentication_failed')
    }
    assert.equal((await post(setOf(), { authorization: 'Bearer right' })).status, 202)
    assert.equal(log.events.length, 1)
  })

  it('sends urgent events by routine past the first bound and answers 429 past the second', async () => {
    await start({ transmitter: { budgetPerS: 1 } })
    const statuses: number[] = []
    for (let index = 0; index < 11; index += 1) statuses.push((await post(setOf())).status)
    assert.deepEqual(statuses, [...Array(10).fill(202), 429])
    const lanes = log.events.map((event) => event.lane)
    assert.deepEqual(lanes, [...Array(2).fill('urgent'), ...Array(8).fill('routine')])
    assert.ok(log.events.every((event) => event.effect === 'tightens'))
    const answer = await post(setOf())
    assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
    assert.equal(await codeOf(answer), 'ERR_TOO_MANY_REQUESTS')
    clock.advance(2_000)
    assert.equal((await post(setOf())).status, 202)
    assert.equal(log.events.at(-1)?.lane, 'urgent')
  })

  it('spends no budget on SETs that do not verify', async () => {
    await start({ transmitter: { budgetPerS: 1 } })
    for (let index = 0; index < 20; index += 1)
      assert.equal((await post(setOf({ iss: 'other' }))).status, 400)
    await post(setOf())
    assert.equal(log.events[0]?.lane, 'urgent')
  })

  it('gives the place of a push back when it fails', async () => {
    await start({ limits: { maxUnverified: 4 } })
    // One place for each network.
    for (const body of ['x', 'x'.repeat(65_537), setOf({ iss: 'other' })]) {
      assert.ok((await post(body)).status < 500)
    }
    assert.equal((await post(setOf())).status, 202)
  })

  it('answers 503 with Retry-After when the log is away, and never a false 202', async () => {
    await start()
    log.failWith = new LogUnavailable('The log is away.')
    const answer = await post(setOf())
    assert.equal(answer.status, 503)
    assert.equal(answer.headers.get('retry-after'), '2')
    assert.equal(await codeOf(answer), 'ERR_LOG_UNAVAILABLE')
    log.failWith = undefined
    assert.equal((await post(setOf())).status, 202)
  })

  it('answers 503 when the log does not answer in time', async () => {
    await start({ log: { append: () => new Promise(() => {}) }, appendDeadlineMs: 50 })
    const answer = await post(setOf())
    assert.equal(answer.status, 503)
    assert.ok(answer.headers.get('retry-after'))
  })

  it('answers 503 when the registry cannot be read', async () => {
    await start({
      find: async () => {
        throw new Unavailable('The registry is away.')
      },
    })
    const answer = await post(setOf())
    assert.equal(answer.status, 503)
    assert.equal(answer.headers.get('retry-after'), '2')
  })

  it("stands below the issuer's path as well as at the root", async () => {
    await start({ issuerPath: '/t1' })
    const statuses: number[] = []
    for (const below of ['/t1', '', '/t2', '/t1/t1']) {
      statuses.push((await post(setOf(), {}, `${below}/ingest/${TRANSMITTER_ID}`)).status)
    }
    assert.deepEqual(statuses, [202, 202, 418, 418])
  })

  it('answers a bare 500 to what nobody expected', async () => {
    await start({ log: { append: () => Promise.reject(new Error('a secret detail')) } })
    const answer = await post(setOf())
    assert.equal(answer.status, 500)
    assert.doesNotMatch(await answer.text(), /secret/)
  })

  it('answers so to a fault inside that has a code of its own', async () => {
    const broken = new SealBroken('A stored secret does not open.')
    await start({ log: { append: () => Promise.reject(broken) } })
    const answer = await post(setOf())
    assert.equal(answer.status, 500)
    assert.deepEqual(await answer.json(), {
      code: 'ERR_INTERNAL',
      message: 'The hub failed to handle this request.',
    })
  })

  it('sheds load with 503 beyond its bound, and takes again once there is room', async () => {
    const waiting: (() => void)[] = []
    await start({
      log: { append: () => new Promise((resolve) => waiting.push(resolve)) },
      limits: { maxInFlight: 4 },
    })
    // A source may hold half of the places: two.
    const held = [post(setOf()), post(setOf())]
    await waitUntil('two appends', () => waiting.length === 2)
    const shed = await post(setOf())
    assert.equal(shed.status, 503)
    assert.equal(shed.headers.get('retry-after'), '1')
    for (const release of waiting.splice(0)) release()
    for (const answer of await Promise.all(held)) assert.equal(answer.status, 202)
    const next = post(setOf())
    await waitUntil('the append', () => waiting.length === 1)
    waiting[0]?.()
    assert.equal((await next).status, 202)
  })

  describe('slow senders', () => {
    const sockets: Socket[] = []
    afterEach(() => {
      for (const socket of sockets.splice(0)) socket.destroy()
    })

    /** Announces a whole SET and sends only some bytes of it. */
    async function drip(address: string, bytes = 10): Promise<{ socket: Socket; answer: Promise<string> }> {
      const socket = connect(server?.port ?? 0, '127.0.0.1')
      sockets.push(socket)
      await once(socket, 'connect')
      socket.write(
        `POST /ingest/${TRANSMITTER_ID} HTTP/1.1\r\nHost: h\r\nX-Test-Address: ${address}\r\nContent-Length: 60000\r\n\r\n${'a'.repeat(bytes)}`,
      )
      let text = ''
      socket.on('data', (data) => {
        text += data
      })
      socket.on('error', () => {})
      return { socket, answer: once(socket, 'close').then(() => text) }
    }
    /** The server has read what came before on other connections when it has answered this. */
    const settled = () => post('x', {}, '/')

    it('keep no place of the source that they name', async () => {
      await start({ limits: { maxInFlight: 4 } })
      for (let index = 0; index < 20; index += 1) await drip('192.0.2.7')
      await settled()
      assert.equal((await post(setOf())).status, 202)
      assert.equal((await post(setOf(), { 'x-test-address': '192.0.2.7' })).status, 202)
    })

    it('that go away are no failure, and leave their place', async () => {
      await start({ limits: { maxUnverified: 4 } })
      const { socket } = await drip('192.0.2.1')
      await settled()
      assert.equal((await post(setOf())).status, 503)
      socket.destroy()
      await waitUntil('the place', async () => (await post(setOf())).status === 202)
      assert.doesNotMatch(await metrics.render(), /outcome="failed"/)
      assert.deepEqual(
        lines.filter(({ level }) => level === 'error'),
        [],
      )
    })

    it('are answered 408 and cut when the body stalls', async () => {
      await start({ bodyTimeMs: 50 })
      const { answer } = await drip('192.0.2.7')
      await settled()
      clock.advance(60)
      const text = await answer
      assert.match(text, /^HTTP\/1\.1 408 /)
      assert.match(text, /ERR_TOO_SLOW/)
      assert.match(text, /Connection: close/i)
      assert.match(text, /Retry-After: 1/)
    })

    it('have longer the more has come', async () => {
      await start({ bodyTimeMs: 50 })
      const { socket, answer } = await drip('192.0.2.7', 32_000)
      await new Promise((resolve) => setTimeout(resolve, 100))
      clock.advance(3_000)
      await new Promise((resolve) => setTimeout(resolve, 150))
      socket.end('a'.repeat(28_000))
      assert.match(await answer, /^HTTP\/1\.1 400 /)
    })

    it('give way when their network, or the hub, is full', async () => {
      await start({ limits: { maxUnverified: 8 } })
      const first = await drip('192.0.2.7')
      await drip('192.0.2.7')
      await settled()
      // Nobody is cut who has only begun.
      assert.equal((await post(setOf(), { 'x-test-address': '192.0.2.7' })).status, 503)
      assert.equal((await post(setOf(), { 'x-test-address': '192.0.2.8' })).status, 202)
      clock.advance(600)
      assert.equal((await post(setOf(), { 'x-test-address': '192.0.2.7' })).status, 202)
      assert.match(await first.answer, /^HTTP\/1\.1 408 /)
      for (let index = 0; index < 7; index += 1) await drip(`192.0.2.${10 + (index >> 1)}`)
      await settled()
      clock.advance(600)
      assert.equal((await post(setOf(), { 'x-test-address': '192.0.2.9' })).status, 202)
    })

    it('hold no more bytes than came, and at most a quarter of the room', async () => {
      await start({ limits: { maxBytes: 100_000 } })
      await drip('192.0.2.7', 20_000)
      await settled()
      const greedy = await drip('192.0.2.7', 20_000)
      assert.match(await Promise.race([greedy.answer, once(greedy.socket, 'data').then(String)]), / 503 /)
      assert.equal((await post(setOf())).status, 202)
    })
  })
})
