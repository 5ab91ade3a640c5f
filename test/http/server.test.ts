import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, get, type IncomingMessage } from 'node:http'
import { get as getTls } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../../src/http/server.js'
import { silentLogger } from '../../src/kernel/logger.js'

describe('http: server', () => {
  const running: HttpServer[] = []
  afterEach(async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()))
  })

  async function start(options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
    const server = createHttpServer({
      host: '127.0.0.1',
      port: 0,
      app: (_req, res) => void res.end('app'),
      logger: silentLogger,
      drainMs: 300,
      ...options,
    })
    await server.start()
    running.push(server)
    return server
  }

  async function ask(
    server: HttpServer,
    path = '/',
    agent?: Agent,
  ): Promise<{ text: string; res: IncomingMessage }> {
    const req = get({ host: '127.0.0.1', port: server.port(), path, ...(agent && { agent }) })
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    let text = ''
    for await (const chunk of res) text += chunk
    return { text, res }
  }

  /** What comes back on a raw connection until it is closed. */
  function rawAnswer(server: HttpServer, send: string): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(server.port(), '127.0.0.1', () => socket.write(send))
      let text = ''
      socket.on('data', (data) => {
        text += data
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(text))
    })
  }

  it('gives a request to `first` before the app, and to the app when `first` declines', async () => {
    const server = await start({
      first: (req, res) => {
        if (req.url === '/thrown') throw new Error('broken')
        if (req.url !== '/fast') return false
        res.end('first')
        return true
      },
    })
    assert.equal((await ask(server, '/fast')).text, 'first')
    assert.equal((await ask(server, '/slow')).text, 'app')
    const broken = await ask(server, '/thrown')
    assert.deepEqual([broken.res.statusCode, broken.text], [500, ''])
  })

  it('gives one network three quarters of its connections, and closes idle ones when few are left', async () => {
    const server = await start({ maxConnections: 8 })
    const closed: number[] = []
    const open = async (name: number, localAddress = '127.0.0.1') => {
      const socket = connect({ port: server.port(), host: '127.0.0.1', localAddress })
      socket.on('close', () => closed.push(name))
      socket.on('error', () => {})
      await once(socket, 'connect')
      return socket
    }
    const first = await open(0)
    first.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    await once(first, 'data')
    for (let name = 1; name < 6; name += 1) await open(name)
    await once(await open(6), 'close')
    assert.deepEqual(closed, [6])
    await open(7, '127.0.0.2')
    await Promise.all([once(first, 'close'), open(8, '127.0.0.2')])
    assert.equal((await ask(server)).res.statusCode, 200)
  })

  it('says in one line which setting to change when the port is taken', async () => {
    const taken = await start()
    const second = createHttpServer({
      host: '127.0.0.1',
      port: taken.port(),
      app: () => {},
      logger: silentLogger,
      portSetting: 'MANAGEMENT_PORT',
    })
    await assert.rejects(second.start(), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_STARTUP')
      assert.match(error.message, new RegExp(`^Port ${taken.port()} .* MANAGEMENT_PORT [^\\n]*$`))
      return true
    })
    const host = createHttpServer({ host: '192.0.2.1', port: 0, app: () => {}, logger: silentLogger })
    await assert.rejects(host.start(), /HOST/)
  })

  it('cuts slow headers and slow bodies with 408', async () => {
    const server = await start({
      headersTimeoutMs: 300,
      requestTimeoutMs: 600,
      app: (req) => void req.resume(),
    })
    assert.match(await rawAnswer(server, 'GET / HTTP/1.1\r\nHost: x\r\n'), /^HTTP\/1\.1 408 /)
    const body = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow'
    assert.match(await rawAnswer(server, body), /^HTTP\/1\.1 408 /)
  })

  it('refuses oversized headers and smuggled lengths', async () => {
    const server = await start()
    const big = `GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`
    assert.match(await rawAnswer(server, big), /^HTTP\/1\.1 431 /)
    const both =
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
    assert.match(await rawAnswer(server, both), /^HTTP\/1\.1 400 /)
  })

  it('takes no more connections than it may', async () => {
    const server = await start({ maxConnections: 1, app: () => {} })
    const held = connect(server.port(), '127.0.0.1')
    held.on('error', () => {})
    await once(held, 'connect')
    assert.equal(await rawAnswer(server, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), '')
    held.destroy()
  })

  it('lets a request in flight finish at stop, takes no new one, and closes idle connections', async () => {
    let answer: (() => void) | undefined
    let arrive = () => {}
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const server = await start({
      drainMs: 50_000,
      app: (req, res) => {
        if (req.url !== '/held') return void res.end('idle')
        answer = () => void res.end('finished')
        arrive()
      },
    })
    const agent = new Agent({ keepAlive: true })
    await ask(server, '/idle', agent)
    const held = ask(server, '/held')
    await arrived
    const stopped = server.stop()
    await assert.rejects(ask(server, '/new'), { code: 'ECONNREFUSED' })
    answer?.()
    const { text, res } = await held
    assert.equal(text, 'finished')
    assert.equal(res.headers.connection, 'close')
    // With an idle keep-alive connection left open, this would take until the bound.
    const before = performance.now()
    await stopped
    assert.ok(performance.now() - before < 20_000)
    agent.destroy()
  })

  it('closes a kept connection whose answer began before the stop and ended after it', async () => {
    let answer: (() => void) | undefined
    const server = await start({
      drainMs: 50_000,
      app: (_req, res) => {
        res.write('half ')
        answer = () => void res.end('whole')
      },
    })
    const agent = new Agent({ keepAlive: true })
    const req = get({ host: '127.0.0.1', port: server.port(), agent })
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    const stopped = server.stop()
    answer?.()
    let text = ''
    for await (const chunk of res) text += chunk
    assert.equal(text, 'half whole')
    const before = performance.now()
    await stopped
    assert.ok(performance.now() - before < 20_000)
    agent.destroy()
  })

  it('cuts what does not finish within the bound', async () => {
    let arrive = () => {}
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const server = await start({ app: () => arrive(), drainMs: 200 })
    const pending = rawAnswer(server, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await arrived
    const before = performance.now()
    await server.stop()
    const tookMs = performance.now() - before
    assert.ok(tookMs > 150 && tookMs < 20_000, String(tookMs))
    assert.equal(await pending, '')
  })

  it('tells its health by whether it listens', async () => {
    const server = await start()
    assert.equal(server.health().ok, true)
    await server.stop()
    assert.equal(server.health().ok, false)
    await server.stop()
  })

  it('serves TLS with a given certificate, and names both settings when it is none', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'firebreak-tls-'))
    const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')]
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
    await promisify(execFile)('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject])
    const tls = { key: await readFile(key), cert: await readFile(cert) }
    const server = await start({ tls, headersTimeoutMs: 1_000 })
    // Who begins no handshake is cut as who sends no headers, not after the two minutes of Node.
    const silent = connect(server.port(), '127.0.0.1')
    await once(silent, 'close')
    const req = getTls({ host: '127.0.0.1', port: server.port(), ca: tls.cert, agent: false })
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    assert.equal(res.statusCode, 200)
    res.resume()
    await once(res, 'end')
    await rm(folder, { recursive: true })
    await assert.rejects(
      start({ tls: { key: 'no key', cert: 'no certificate' } }),
      /TLS_CERT_FILE.*TLS_KEY_FILE/,
    )
  })
})
