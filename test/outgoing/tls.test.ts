import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import tls, { type TLSSocket } from 'node:tls'
import { createAddressRules } from '../../src/outgoing/address-rules.js'
import { createAgents } from '../../src/outgoing/agents.js'
import type { ClientTls } from '../../src/outgoing/client-tls.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import { createUrlRules } from '../../src/outgoing/url-rules.js'
import { createAuthority, type Pair, type TestAuthority } from '../support/certificates.js'
import { waitUntil } from '../support/wait.js'
import { selfSigned } from './certificate.js'

/** What one connection of the server knows of the hub. */
interface Seen {
  readonly name: string | false
  readonly client: string | undefined
}

describe('outgoing: TLS (E6)', function () {
  this.timeout(30_000)
  let authority: TestAuthority
  let other: TestAuthority
  let good: Pair
  let servers: Server[] = []
  let connections: TLSSocket[] = []
  let requests = 0
  let outgoing: Outgoing

  before(async () => {
    authority = await createAuthority('Company')
    other = await createAuthority('Another')
    good = await authority.issue({ name: 'gw.example' })
  })
  after(() => Promise.all([authority.remove(), other.remove()]))
  beforeEach(() => {
    requests = 0
    connections = []
    outgoing = createOutgoing({
      allowedNetworks: ['127.0.0.1'],
      resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    })
  })
  afterEach(async () => {
    await outgoing.close()
    for (const server of servers) {
      server.closeAllConnections()
      server.close()
    }
    servers = []
  })

  async function serve(options: ServerOptions): Promise<number> {
    const server = createServer(options, (_req, res) => {
      requests += 1
      res.writeHead(202).end()
    })
    server.on('tlsClientError', () => {})
    server.on('secureConnection', (socket) => void connections.push(socket))
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }
  /** Demands a client certificate of the authority. */
  const serveStrictly = () =>
    serve({ ...good, ca: authority.cert, requestCert: true, rejectUnauthorized: true })

  const seen = (): Seen[] =>
    connections.map((socket) => ({
      name: socket.servername ?? false,
      client: socket.getPeerCertificate()?.subject?.CN as string | undefined,
    }))

  const send = (port: number, tls?: ClientTls, host = 'gw.example') =>
    outgoing.request({
      url: `https://${host}:${port}/`,
      method: 'POST',
      headers: {},
      body: 'x',
      deadlineMs: 20_000,
      pool: 'urgent',
      ...(tls ? { tls } : {}),
    })

  async function refused(work: Promise<unknown>): Promise<string> {
    const before = requests
    const error = await work.then(
      () => assert.fail('it was answered'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof OutgoingFailed, String(error))
    assert.equal(error.reason, 'tls', error.detail)
    assert.equal(requests, before)
    return error.detail ?? ''
  }

  const clientTls = async (from: TestAuthority, name: string, more: object = {}): Promise<ClientTls> => {
    const { cert, key } = await from.issue({ name, usage: 'clientAuth', ...more })
    return { ca: authority.cert, certificate: cert, key }
  }

  it('goes to the checked address and asks for the name in the URL', async () => {
    const port = await serve(good)
    assert.equal((await send(port, { ca: authority.cert })).status, 202)
    assert.deepEqual(seen(), [{ name: 'gw.example', client: undefined }])
  })

  it('sends nothing to a certificate that nobody vouches for, and says so', async () => {
    assert.equal(await refused(send(await serve(selfSigned('gw.example')))), 'DEPTH_ZERO_SELF_SIGNED_CERT')
    assert.equal(await refused(send(await serve(good))), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
  })

  it('sends nothing to a certificate of another name, and says so', async () => {
    const port = await serve(good)
    for (const host of ['other.example', '127.0.0.1']) {
      const detail = await refused(send(port, { ca: authority.cert }, host))
      assert.equal(detail, 'ERR_TLS_CERT_ALTNAME_INVALID')
    }
  })

  it('sends nothing to a certificate whose time is over, and says so', async () => {
    const expired = selfSigned('gw.example', '200102000000Z')
    assert.equal(await refused(send(await serve(expired), { ca: expired.cert })), 'CERT_HAS_EXPIRED')
  })

  it('sends nothing by TLS 1.1, and says so, even where Node would (T-86, T-98)', async () => {
    const port = await serve({
      ...good,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    const { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS } = tls
    // As by --tls-min-v1.0 and --tls-cipher-list: without a limit of its own the hub would speak it.
    Object.assign(tls, { DEFAULT_MIN_VERSION: 'TLSv1', DEFAULT_CIPHERS: 'DEFAULT@SECLEVEL=0' })
    try {
      assert.equal(await protocolWith(port, authority.cert), 'TLSv1.1')
      assert.match(await refused(send(port, { ca: authority.cert })), /PROTOCOL|EPROTO/)
      assert.match(await refused(send(port)), /PROTOCOL|EPROTO/)
    } finally {
      Object.assign(tls, { DEFAULT_MIN_VERSION, DEFAULT_CIPHERS })
    }
  })

  it('speaks TLS 1.2 with who has no better, and TLS 1.3 with who has (T-98)', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      connections = []
      const port = await serve({ ...good, minVersion: 'TLSv1.2', maxVersion: version })
      assert.equal((await send(port, { ca: authority.cert })).status, 202)
      assert.deepEqual(
        connections.map((socket) => socket.getProtocol()),
        [version],
      )
    }
  })

  it('believes the listed authorities and no other', async () => {
    const port = await serve(good)
    await refused(send(port, { ca: other.cert }))
    assert.equal((await send(port, { ca: other.cert + authority.cert })).status, 202)
  })

  it('believes a listed authority whose own root is not listed', async () => {
    const below = await authority.issueAuthority('Department')
    const port = await serve(await below.issue({ name: 'gw.example' }))
    assert.equal((await send(port, { ca: below.cert })).status, 202)
    await refused(send(await serve(good), { ca: below.cert }))
  })

  it('shows its certificate to an endpoint that demands one', async () => {
    const port = await serveStrictly()
    assert.equal((await send(port, await clientTls(authority, 'hub'))).status, 202)
    assert.deepEqual(seen(), [{ name: 'gw.example', client: 'hub' }])
  })

  it('tells a missing client certificate, and one of another authority', async () => {
    // Of Node's own server a refused client hears nothing; most others say why they hang up.
    const strict = await startOpensslServer(authority)
    try {
      assert.match(await refused(send(strict.port, { ca: authority.cert })), /CERTIFICATE_REQUIRED/)
      assert.match(await refused(send(strict.port, await clientTls(other, 'hub'))), /ALERT/)
    } finally {
      await strict.stop()
    }
  })

  it('uses no connection of one setting for another, and shares those of equal ones', async () => {
    const port = await serve({ ...good, ca: authority.cert, requestCert: true, rejectUnauthorized: false })
    const old = await clientTls(authority, 'old')
    const next = await clientTls(authority, 'next')
    await send(port, old)
    await waitUntil('the first connection', () => connections.length === 1)
    await send(port, { ...old })
    await send(port, next)
    await send(port, { ca: authority.cert })
    const names = seen().map(({ client }) => client)
    assert.deepEqual([...new Set(names)], ['old', 'next', undefined])
    await refused(send(port))
  })

  it('says so when OpenSSL takes a stored setting no more', async () => {
    const port = await serve(good)
    const torn = { ca: authority.cert, certificate: good.cert, key: other.key }
    assert.match(await refused(send(port, torn)), /^ERR_OSSL/)
  })

  it('is not weakened by NODE_TLS_REJECT_UNAUTHORIZED', async () => {
    const port = await serve(selfSigned('gw.example'))
    const kept = process.env.NODE_TLS_REJECT_UNAUTHORIZED
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    try {
      await refused(send(port))
      await refused(send(port, { ca: authority.cert }))
    } finally {
      if (kept === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
      else process.env.NODE_TLS_REJECT_UNAUTHORIZED = kept
    }
  })

  describe('agents', () => {
    const settings = ['a', 'b', 'c'].map((ca) => ({ ca }))
    const open = (more: { privateAgents?: number; unusedMs?: number }) =>
      createAgents({
        rules: createUrlRules(createAddressRules([])),
        resolve: () => assert.fail('nothing is looked up'),
        connectionsPerOrigin: 1,
        dial: () => () => assert.fail('nothing is dialled'),
        ...more,
      })

    it('are one per pool and setting', async () => {
      const agents = open({})
      const [a, b] = settings
      assert.equal(agents.of('urgent', a), agents.of('urgent', { ca: 'a' }))
      const all = [
        agents.of('urgent'),
        agents.of('urgent', a),
        agents.of('urgent', b),
        agents.of('control', a),
        agents.of('urgent', { ca: 'a', certificate: 'a', key: 'a' }),
        agents.of('urgent', { certificate: 'a', key: 'a' }),
      ]
      assert.equal(new Set(all).size, all.length)
      await agents.close()
      assert.ok(all.every((agent) => agent.destroyed))
    })

    it('are bounded: the one unused for longest is closed', async () => {
      const agents = open({ privateAgents: 2 })
      const [a, b, c] = settings.map((tls) => agents.of('urgent', tls)) as [object, object, object]
      assert.deepEqual(
        [a, b, c].map((agent) => (agent as { closed: boolean }).closed),
        [true, false, false],
      )
      assert.equal(agents.of('urgent', settings[1]), b)
      await agents.close()
    })

    it('are closed after a time without use', async () => {
      const agents = open({ unusedMs: 20 })
      const agent = agents.of('urgent', settings[0])
      const plain = agents.of('urgent')
      await waitUntil('the unused agent to close', () => agent.closed)
      assert.equal(plain.closed, false)
      await agents.close()
    })
  })
})

/** What a client that goes by Node's defaults speaks there. */
async function protocolWith(port: number, ca: string): Promise<string | null> {
  const socket = tls.connect({ port, host: '127.0.0.1', servername: 'gw.example', ca })
  await once(socket, 'secureConnect')
  const protocol = socket.getProtocol()
  socket.destroy()
  return protocol
}

/** An endpoint that ends a handshake without a certificate of the authority with an alert (RFC 8446 §6.2). */
async function startOpensslServer(
  authority: TestAuthority,
): Promise<{ port: number; stop(): Promise<void> }> {
  const { cert, key } = await authority.issue({ name: 'gw.example' })
  const files = { cert: join(authority.folder, 'strict.pem'), key: join(authority.folder, 'strict.key') }
  await writeFile(files.cert, cert)
  await writeFile(files.key, key)
  const server = spawn('openssl', [
    ...['s_server', '-accept', '127.0.0.1:0', '-cert', files.cert, '-key', files.key],
    ...['-Verify', '1', '-verify_return_error', '-CAfile', join(authority.folder, 'ca.pem')],
  ])
  let said = ''
  server.stdout.on('data', (chunk) => {
    said += String(chunk)
  })
  server.stderr.resume()
  await waitUntil('openssl to listen', () => /ACCEPT .*:\d+/.test(said))
  return {
    port: Number(/ACCEPT .*:(\d+)/.exec(said)?.[1]),
    async stop() {
      const ended = once(server, 'exit')
      server.kill()
      await ended
    },
  }
}
