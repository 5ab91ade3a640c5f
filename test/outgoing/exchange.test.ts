import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createSocketServer, type Server, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { createOutgoing, type Outgoing, type OutgoingRequest } from '../../src/outgoing/outgoing.js'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import { waitUntil } from '../support/wait.js'

describe('outgoing: scripted endpoints', () => {
  let outgoing: Outgoing
  const servers: { server: Server; sockets: Set<Socket> }[] = []

  beforeEach(() => {
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })
  })
  afterEach(async () => {
    await outgoing.close()
    for (const { server, sockets } of servers.splice(0)) {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  })

  async function listen(server: Server): Promise<string> {
    const sockets = new Set<Socket>()
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
    })
    servers.push({ server, sockets })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  const serve = async (handler: (req: IncomingMessage, res: ServerResponse) => void) =>
    `http://${await listen(createServer(handler))}/`
  const serveRaw = async (handler: (socket: Socket) => void) =>
    `http://${await listen(createSocketServer(handler))}/`

  const send = (url: string, more: Partial<OutgoingRequest> = {}) =>
    outgoing.request({
      url,
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'hello',
      deadlineMs: 20_000,
      pool: 'urgent',
      ...more,
    })

  async function failureOf(work: Promise<unknown>): Promise<OutgoingFailed> {
    const error = await work.then(
      () => assert.fail('it was answered'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof OutgoingFailed, String(error))
    return error
  }

  /** The deadline is total: whatever the endpoint does, it ends, and not before 400 ms (timers are coarse). */
  async function endsAtDeadline(url: string): Promise<void> {
    const from = performance.now()
    const failure = await failureOf(send(url, { deadlineMs: 400 }))
    const tookMs = performance.now() - from
    assert.equal(failure.reason, 'timeout')
    assert.ok(tookMs >= 395 && tookMs < 20_000, `${tookMs} ms`)
  }

  it('posts the body and gives back status, headers and body', async () => {
    let seen = ''
    const url = await serve((req, res) => {
      req.on('data', (chunk) => {
        seen += `${req.method} ${req.headers['accept-encoding']} ${chunk}`
      })
      req.on('end', () => res.writeHead(202, { 'x-mark': 'yes' }).end('{"ok":true}'))
    })
    const answer = await send(url)
    assert.equal(seen, 'POST identity hello')
    assert.equal(answer.status, 202)
    assert.equal(answer.headers['x-mark'], 'yes')
    assert.equal(answer.body.toString(), '{"ok":true}')
  })

  it('ends at the deadline when the endpoint accepts and never answers (E2)', async () => {
    await endsAtDeadline(await serveRaw(() => {}))
  })

  it('ends at the deadline when headers drip (E2)', async () => {
    await endsAtDeadline(
      await serveRaw((socket) => {
        socket.write('HTTP/1.1 200 OK\r\nX-Drip: ')
        const timer = setInterval(() => socket.write('a'), 50)
        socket.on('close', () => clearInterval(timer))
      }),
    )
  })

  it('ends at the deadline when the body drips, which no idle timeout sees (E2)', async () => {
    await endsAtDeadline(
      await serve((_req, res) => {
        res.writeHead(200)
        const timer = setInterval(() => res.write('a'), 50)
        res.on('close', () => clearInterval(timer))
      }),
    )
  })

  it('ends at the deadline when the TLS handshake stalls', async () => {
    const url = await serveRaw(() => {})
    await endsAtDeadline(url.replace('http:', 'https:'))
  })

  it('ends at the deadline when the name look-up hangs', async () => {
    await outgoing.close()
    outgoing = createOutgoing({ allowedNetworks: [], resolve: () => new Promise(() => {}) })
    await endsAtDeadline('https://gw.example/')
  })

  it('ends at the deadline while it waits for a busy connection, and then sends nothing', async () => {
    await outgoing.close()
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'], connectionsPerOrigin: 1 })
    const waiting: ServerResponse[] = []
    let requests = 0
    const url = await serve((_req, res) => {
      requests += 1
      waiting.push(res)
    })
    const first = send(url)
    await endsAtDeadline(url)
    for (const res of waiting) res.writeHead(202).end()
    assert.equal((await first).status, 202)
    assert.equal(requests, 1)
  })

  it('cuts an endless body at the cap and closes the connection (E5)', async () => {
    let closed: () => void = () => {}
    const wasClosed = new Promise<void>((resolve) => {
      closed = resolve
    })
    const chunk = Buffer.alloc(16_384, 'a')
    const before = process.memoryUsage().rss
    const url = await serve((_req, res) => {
      res.writeHead(200)
      const pump = () => {
        while (!res.destroyed && res.write(chunk)) {}
      }
      res.on('drain', pump).on('close', () => closed())
      pump()
    })
    assert.equal((await failureOf(send(url))).reason, 'too_large')
    await wasClosed
    assert.ok(process.memoryUsage().rss - before < 40 * 1024 * 1024)
  })

  it('refuses an announced body over the cap without reading it (E5)', async () => {
    const url = await serve((_req, res) => res.writeHead(200, { 'content-length': '1000000000' }).write('a'))
    assert.equal((await failureOf(send(url))).reason, 'too_large')
  })

  it('keeps to a cap of the caller', async () => {
    const url = await serve((_req, res) => res.end('a'.repeat(100_000)))
    assert.equal((await send(url, { maxBytes: 262_144 })).body.length, 100_000)
    assert.equal((await failureOf(send(url, { maxBytes: 99_999 }))).reason, 'too_large')
  })

  it('refuses a compressed answer, a gzip bomb above all (E5)', async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000))
    const url = await serve((_req, res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb))
    assert.equal((await failureOf(send(url))).reason, 'protocol')
  })

  it('refuses headers without end (E5)', async () => {
    const url = await serveRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n')
      const line = `X-Fill: ${'a'.repeat(1_000)}\r\n`
      const pump = () => {
        while (!socket.destroyed && socket.write(line)) {}
      }
      socket.on('drain', pump)
      pump()
    })
    assert.equal((await failureOf(send(url))).reason, 'too_large')
  })

  it('refuses bad chunking (E5)', async () => {
    const url = await serveRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n')
    })
    assert.equal((await failureOf(send(url))).reason, 'protocol')
  })

  for (const status of [301, 302, 303, 307, 308]) {
    it(`gives ${status} back as an answer and never contacts its Location (E4)`, async () => {
      let canaryHits = 0
      const canary = await serveRaw((socket) => {
        canaryHits += 1
        socket.destroy()
      })
      const url = await serve((_req, res) => res.writeHead(status, { location: canary }).end())
      assert.equal((await send(url)).status, status)
      assert.equal(canaryHits, 0)
    })
  }

  it('reuses the connection for requests that follow', async () => {
    const sockets = new Set<Socket>()
    const url = await serve((req, res) => {
      sockets.add(req.socket)
      res.writeHead(202).end()
    })
    for (let round = 0; round < 20; round += 1) await send(url)
    // undici frees a connection a moment after the answer, so the next request may open a second one, never a third.
    assert.ok(sockets.size <= 2, `${sockets.size} connections`)
  })

  it('holds no connection of one pool back for another', async () => {
    await outgoing.close()
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'], connectionsPerOrigin: 1 })
    let held: ServerResponse | undefined
    const url = await serve((req, res) => {
      if (req.headers['x-lane'] !== 'control') held = res
      else res.writeHead(202).end()
    })
    const stuck = send(url, { pool: 'routine' })
    const answer = await send(url, { pool: 'control', headers: { 'x-lane': 'control' } })
    assert.equal(answer.status, 202)
    await waitUntil('the held request', () => held !== undefined)
    held?.writeHead(204).end()
    assert.equal((await stuck).status, 204)
  })

  it('tries once more when the endpoint closes before it answers (E9)', async () => {
    let connections = 0
    const url = await serveRaw((socket) => {
      connections += 1
      const first = connections === 1
      socket.once('data', () =>
        first ? socket.destroy() : socket.end('HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n'),
      )
    })
    assert.equal((await send(url)).status, 202)
    assert.equal(connections, 2)
  })

  it('names a refused connection, a plain answer to TLS and a closed one', async () => {
    const gone = await serve(() => {})
    servers[0]?.server.close()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal((await failureOf(send(gone))).reason, 'connect')
    const plain = await serveRaw((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    )
    assert.equal((await failureOf(send(plain.replace('http:', 'https:')))).reason, 'tls')
    const closing = await serveRaw((socket) => socket.once('data', () => socket.destroy()))
    assert.equal((await failureOf(send(closing))).reason, 'connect')
  })

  it('refuses a header value with a line end', async () => {
    const url = await serve((_req, res) => res.end())
    assert.equal((await failureOf(send(url, { headers: { authorization: 'a\r\nx: y' } }))).reason, 'protocol')
  })

  it('says the same to a caller whatever went wrong', async () => {
    const slow = await failureOf(send(await serveRaw(() => {}), { deadlineMs: 50 }))
    const refused = await failureOf(send('https://10.0.0.1/'))
    assert.equal(slow.message, refused.message)
    assert.equal(slow.code, 'ERR_OUTGOING_FAILED')
  })
})
