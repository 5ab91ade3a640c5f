import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type Server as HttpServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { buildConnector } from 'undici'
import type { AttemptOutcome } from '../../src/delivery/attempt-outcome.js'
import {
  classOfStatus,
  FAILURE_CLASSES,
  type FailureClass,
  failureOf,
  traitsOf,
} from '../../src/delivery/failure-class.js'
import type { SendItem } from '../../src/delivery/open-delivery.js'
import { createPushAttempt } from '../../src/delivery/push-attempt.js'
import type { StreamTarget } from '../../src/delivery/stream-target-repository.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import type { Dial } from '../../src/outgoing/guarded-connect.js'
import { createOutgoing, type Outgoing, type OutgoingOptions } from '../../src/outgoing/outgoing.js'
import { selfSigned } from '../outgoing/certificate.js'

const ITEM = {
  streamId: 's',
  eventId: 'e',
  lane: 'urgent',
  txn: 't',
  attempts: 0,
  content: {},
} as unknown as SendItem
const DEADLINE_MS = 400

describe('the class of a failed attempt, on real sockets', () => {
  const closing: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close()
  })

  async function listen(server: Server | HttpServer): Promise<number> {
    const sockets = new Set<Socket>()
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    })
    return (server.address() as AddressInfo).port
  }

  const serve = async (listener: RequestListener) =>
    `http://127.0.0.1:${await listen(createServer(listener))}/`
  const serveTls = async (keys: { cert: string; key: string }) => {
    const server = createTlsServer(keys, (_req, res) => void res.writeHead(202).end())
    server.on('tlsClientError', () => {})
    return listen(server)
  }
  const serveRaw = async (onSocket: (socket: Socket) => void) =>
    `http://127.0.0.1:${await listen(createTcpServer(onSocket))}/`

  function open(options: Partial<OutgoingOptions> = {}): Outgoing {
    const outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'], ...options })
    closing.push(() => outgoing.close())
    return outgoing
  }

  function attempt(endpointUrl: string, outgoing: Outgoing = open()): Promise<AttemptOutcome> {
    const push = createPushAttempt({
      minter: { jtiOf: () => 'j', refusalOf: () => undefined, mint: async () => 'a.b.c' },
      post: (request) => outgoing.request(request),
      clock: createClock(),
      logger: silentLogger,
      metrics: createMetrics(),
      attemptTimeoutMs: DEADLINE_MS,
      received: () => {},
    })
    return push(ITEM, { endpointUrl } as StreamTarget)
  }

  async function failsAs(expected: FailureClass, outcome: Promise<AttemptOutcome>, reason?: RegExp) {
    const { class: kind, ...rest } = await outcome
    assert.equal(kind, 'failed', JSON.stringify(rest))
    assert.ok('failure' in rest && 'reason' in rest)
    assert.equal(rest.failure, expected, rest.reason)
    if (reason) assert.match(rest.reason, reason)
  }

  for (const status of [200, 301, 302, 307, 308, 401, 403, 404, 410, 429, 500, 502, 503, 504]) {
    const expected = classOfStatus(status)
    it(`is ${expected} for ${status}`, async () => {
      const url = await serve(
        (_req, res) => void res.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(),
      )
      await failsAs(expected, attempt(url), new RegExp(`^answered ${status}$`))
    })
  }

  it('is connect when the connection is refused, reset, or ended before an answer', async () => {
    const closed = createTcpServer()
    const port = await listen(closed)
    await new Promise((resolve) => closed.close(resolve))
    await failsAs('connect', attempt(`http://127.0.0.1:${port}/`), /ECONNREFUSED/)
    await failsAs('connect', attempt(await serveRaw((socket) => socket.resetAndDestroy())))
    await failsAs('connect', attempt(await serveRaw((socket) => socket.end())))
  })

  it('is dns when the name does not resolve, or the resolver gives no answer in time', async () => {
    for (const code of ['ENOTFOUND', 'EAI_AGAIN', 'ESERVFAIL']) {
      const resolve = async () => Promise.reject(Object.assign(new Error(code), { code }))
      await failsAs('dns', attempt('https://gone.example/', open({ resolve })), new RegExp(code))
    }
    const hangs = open({ resolve: () => new Promise(() => {}) })
    await failsAs('timeout', attempt('https://slow.example/', hangs))
  })

  it('is refused_address when the name leads inside', async () => {
    const resolve = async () => [{ address: '10.1.2.3', family: 4 as const }]
    await failsAs('refused_address', attempt('https://inside.example/', open({ resolve })))
    await failsAs('refused_address', attempt('https://169.254.169.254/'))
  })

  it('is tls for a certificate that is self-signed, over or of another name', async () => {
    const resolve = async () => [{ address: '127.0.0.1', family: 4 as const }]
    const trusting =
      (ca: string): Dial =>
      ({ lookup, timeoutMs }) =>
        buildConnector({ lookup, timeout: timeoutMs, ca } as buildConnector.BuildOptions)
    const good = selfSigned('gw.example')
    const port = await serveTls(good)
    const goodUrl = `https://gw.example:${port}/`
    assert.equal((await attempt(goodUrl, open({ resolve, dial: trusting(good.cert) }))).class, 'received')
    await failsAs('tls', attempt(goodUrl, open({ resolve })), /SELF_SIGNED/)
    const otherName = `https://other.example:${port}/`
    await failsAs('tls', attempt(otherName, open({ resolve, dial: trusting(good.cert) })), /ALTNAME/)
    const over = selfSigned('gw.example', '200101000000Z')
    const overUrl = `https://gw.example:${await serveTls(over)}/`
    await failsAs('tls', attempt(overUrl, open({ resolve, dial: trusting(over.cert) })), /EXPIRED/)
  })

  it('is timeout when nothing is answered, or a byte at a time', async () => {
    await failsAs('timeout', attempt(await serveRaw(() => {})))
    const drip = (socket: Socket, text: string) => {
      let at = 0
      const timer = setInterval(() => void socket.write(text[at++ % text.length] ?? ''), 20)
      socket.on('close', () => clearInterval(timer))
    }
    await failsAs(
      'timeout',
      attempt(await serveRaw((socket) => drip(socket, 'HTTP/1.1 202 OK\r\nx-padding: '.padEnd(500, 'x')))),
    )
    const body = 'HTTP/1.1 202 Accepted\r\ncontent-length: 5000\r\n\r\n'
    await failsAs(
      'timeout',
      attempt(
        await serveRaw((socket) => {
          socket.write(body)
          drip(socket, 'x')
        }),
      ),
    )
  })

  it('is too_large or protocol for an answer that nobody can want', async () => {
    await failsAs(
      'too_large',
      attempt(await serve((_req, res) => void res.writeHead(202).end(Buffer.alloc(70_000)))),
    )
    const gzip = { 'content-encoding': 'gzip' }
    await failsAs('protocol', attempt(await serve((_req, res) => void res.writeHead(202, gzip).end('x'))))
    await failsAs('protocol', attempt(await serveRaw((socket) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n'))))
  })

  it('is internal for what is no failure of a request', () => {
    assert.deepEqual(failureOf(new Error('no key')), { failure: 'internal', reason: 'no key' })
    assert.equal(FAILURE_CLASSES.includes('internal'), true)
  })
})

describe('the table of failure classes in docs/operating.md', () => {
  it('has every class, and says of each what the hub does', () => {
    const [, section = ''] = readFileSync('docs/operating.md', 'utf8').split('### What follows a failed push')
    const words = { at_once: 'at once', soon: 'soon', late: 'late', never: 'never' }
    const told = new Map<string, string[]>()
    for (const line of section.split('\n').filter((text) => text.startsWith('| `'))) {
      const [names = '', _what, ...says] = line.slice(2, -2).split(' | ')
      for (const [, name = ''] of names.matchAll(/`(\w+)`/g)) told.set(name, says)
    }
    assert.deepEqual([...told.keys()].sort(), [...FAILURE_CLASSES].sort())
    for (const failure of FAILURE_CLASSES) {
      const { restsAfter, restMs, suspectsSet, pauses } = traitsOf(failure)
      assert.deepEqual(
        told.get(failure),
        [String(restsAfter), `${restMs / 1_000} s`, suspectsSet ? 'yes' : 'no', words[pauses]],
        failure,
      )
    }
  })
})
