import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { createOutgoing, type Outgoing, type OutgoingOptions } from '../../src/outgoing/outgoing.js'
import { AddressRefused, OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import type { EgressProxy } from '../../src/outgoing/proxy-connect.js'
import type { ResolvedAddress } from '../../src/outgoing/resolver.js'
import { createAuthority, type TestAuthority } from '../support/certificates.js'
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.js'
import { REFUSED_ADDRESSES, REFUSED_BY_SIGHT } from '../support/refused-urls.js'
import { waitUntil } from '../support/wait.js'

const addresses = (...found: string[]): ResolvedAddress[] =>
  found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))

describe('outgoing: an egress proxy', function () {
  this.timeout(30_000)
  let authority: TestAuthority
  let endpoint: Server
  let endpointPort: number
  /** Names that the endpoint was asked for by TLS. */
  let served: unknown[] = []
  let proxy: ConnectProxy
  const opened: Outgoing[] = []

  before(async () => {
    authority = await createAuthority()
    const { cert, key } = await authority.issue({ name: 'gw.example' })
    endpoint = createServer({ cert, key }, (_req, res) => res.writeHead(202).end())
    endpoint.on('secureConnection', (socket) => void served.push(socket.servername))
    endpoint.on('tlsClientError', () => {})
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve))
    endpointPort = (endpoint.address() as AddressInfo).port
  })
  after(async () => {
    endpoint.closeAllConnections()
    endpoint.close()
    await authority.remove()
  })
  beforeEach(async () => {
    served = []
    proxy = await startConnectProxy()
    proxy.answerWith(() => ({ toPort: endpointPort }))
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((each) => each.close()))
    await proxy.close()
  })

  function open(
    lookUp: Record<string, string[]> | (() => ResolvedAddress[]),
    more: Partial<OutgoingOptions> & { by?: Partial<EgressProxy> } = {},
  ): Outgoing {
    const { by, ...options } = more
    const outgoing = createOutgoing({
      allowedNetworks: [],
      proxy: { url: proxy.url, resolves: false, localNames: [], answersWithinMs: 2_800, ...by },
      resolve: async (name) => {
        if (typeof lookUp === 'function') return lookUp()
        const found = lookUp[name]
        if (!found) throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })
        return addresses(...found)
      },
      ...options,
    })
    opened.push(outgoing)
    return outgoing
  }
  const send = (by: Outgoing, url: string) =>
    by.request({
      url,
      method: 'POST',
      headers: {},
      body: 'x',
      deadlineMs: 20_000,
      pool: 'urgent',
      tls: { ca: authority.cert },
    })
  async function failureOf(work: Promise<unknown>): Promise<OutgoingFailed> {
    const error = await work.then(
      () => assert.fail('it was answered'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof OutgoingFailed, String(error))
    return error
  }
  const asked = () => proxy.asked.map(({ authority: one }) => one)

  it('is asked for the checked address, and the endpoint by TLS for the name', async () => {
    const by = open({ 'gw.example': ['8.8.8.8'] })
    assert.equal((await send(by, 'https://gw.example/events')).status, 202)
    assert.deepEqual(asked(), ['8.8.8.8:443'])
    assert.deepEqual(served, ['gw.example'])
    assert.equal(proxy.asked[0]?.headers.host, '8.8.8.8:443')
    assert.deepEqual(proxy.others, [])
  })

  it('is asked once for a connection that serves many requests', async () => {
    const by = open({ 'gw.example': ['8.8.8.8'] })
    for (let round = 0; round < 5; round += 1) await send(by, 'https://gw.example:8443/events')
    // undici frees a connection a moment after the answer, so the next request may open a second one.
    assert.ok(asked().length <= 2, String(asked()))
    assert.equal(asked()[0], '8.8.8.8:8443')
  })

  it('is asked for literals, IPv6 in brackets', async () => {
    const by = open({})
    for (const host of ['8.8.8.8', '[2606:4700::1111]']) {
      assert.equal((await failureOf(send(by, `https://${host}/`))).reason, 'tls')
    }
    assert.deepEqual(asked(), ['8.8.8.8:443', '[2606:4700::1111]:443'])
  })

  it('gets its user and password, which stand in no error', async () => {
    const url = proxy.url.replace('http://', 'http://hub:p%40ss@')
    const by = open({ 'gw.example': ['8.8.8.8'] }, { by: { url } })
    await send(by, 'https://gw.example/')
    const sent = proxy.asked[0]?.headers['proxy-authorization']
    assert.equal(sent, `Basic ${Buffer.from('hub:p@ss').toString('base64')}`)
    proxy.answerWith(() => 407)
    const failure = await failureOf(
      send(open({ 'gw.example': ['8.8.8.8'] }, { by: { url } }), 'https://gw.example/'),
    )
    assert.equal(failure.reason, 'proxy')
    assert.equal(failure.detail, 'the egress proxy answered 407')
  })

  it('is spoken to by TLS where its URL says https, and believed only with a good certificate', async () => {
    const secure = await startConnectProxy({ tls: await authority.issue({ name: 'localhost' }) })
    const url = secure.url.replace('127.0.0.1', 'localhost')
    try {
      secure.answerWith(() => ({ toPort: endpointPort }))
      const bad = await failureOf(
        send(open({ 'gw.example': ['8.8.8.8'] }, { by: { url } }), 'https://gw.example/'),
      )
      assert.deepEqual([bad.reason, secure.asked], ['proxy', []])
      assert.match(bad.detail ?? '', /UNABLE_TO_VERIFY/)
      const good = open({ 'gw.example': ['8.8.8.8'] }, { by: { url, ca: authority.cert } })
      assert.equal((await send(good, 'https://gw.example/')).status, 202)
      assert.deepEqual(served, ['gw.example'])
    } finally {
      await secure.close()
    }
  })

  it('is left out for what lies on listed networks, by name or address, plain http too', async () => {
    const by = open({ 'gw.example': ['127.0.0.1'] }, { allowedNetworks: ['127.0.0.0/8'] })
    assert.equal((await send(by, `https://gw.example:${endpointPort}/`)).status, 202)
    assert.equal((await failureOf(send(by, `https://127.0.0.1:${endpointPort}/`))).reason, 'tls')
    assert.equal((await failureOf(send(by, `http://127.0.0.1:${endpointPort}/`))).reason, 'connect')
    assert.deepEqual(asked(), [])
  })

  it('is asked for the next address when one cannot be reached, IPv4 first', async () => {
    proxy.answerWith((one) => (one.startsWith('8.8.4.4') ? { toPort: endpointPort } : 502))
    const by = open({ 'gw.example': ['2606:4700::1111', '8.8.8.8', '8.8.4.4'] })
    assert.equal((await send(by, 'https://gw.example/')).status, 202)
    assert.deepEqual(asked(), ['8.8.8.8:443', '8.8.4.4:443'])
  })

  it('is asked for three addresses at most', async () => {
    proxy.answerWith(() => 503)
    const by = open({ 'gw.example': ['8.8.8.1', '8.8.8.2', '8.8.8.3', '8.8.8.4'] })
    const failure = await failureOf(send(by, 'https://gw.example/'))
    assert.equal(failure.reason, 'connect')
    assert.equal(failure.detail, 'the egress proxy answered 503')
    assert.equal(asked().length, 3)
  })

  describe('that fails', () => {
    for (const status of [302, 400, 403, 405, 407, 500]) {
      it(`by ${status} is told from an endpoint that fails, and asked once`, async () => {
        proxy.answerWith(() => status)
        const by = open({ 'gw.example': ['8.8.8.8', '8.8.4.4'] })
        assert.equal((await failureOf(send(by, 'https://gw.example/'))).reason, 'proxy')
        assert.equal(asked().length, 1)
      })
    }

    it('by hanging up, and by not being there, is told from an endpoint that fails', async () => {
      proxy.answerWith(() => 'hang up')
      const by = open({ 'gw.example': ['8.8.8.8'] })
      assert.equal((await failureOf(send(by, 'https://gw.example/'))).reason, 'proxy')
      const gone = await startConnectProxy()
      await gone.close()
      const failure = await failureOf(
        send(open({ 'gw.example': ['8.8.8.8'] }, { by: { url: gone.url } }), 'https://gw.example/'),
      )
      assert.equal(failure.reason, 'proxy')
      assert.equal(failure.detail, 'egress proxy: ECONNREFUSED')
    })

    it('by silence is told from an endpoint that fails, each address asked, before a request is out of time', async () => {
      proxy.answerWith(() => 'never')
      const by = open({ 'gw.example': ['8.8.8.8', '8.8.4.4', '8.8.0.0'] }, { by: { answersWithinMs: 600 } })
      const failure = await failureOf(send(by, 'https://gw.example/'))
      assert.equal(failure.reason, 'proxy')
      assert.equal(failure.detail, 'the egress proxy did not answer CONNECT in time')
      assert.deepEqual(asked(), ['8.8.8.8:443', '8.8.4.4:443', '8.8.0.0:443'])
    })

    it('by not ending its TLS handshake is told from an endpoint that fails, and asked once', async () => {
      const silent = createTcpServer((socket) => void socket.on('error', () => {}))
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
      let connections = 0
      silent.on('connection', () => {
        connections += 1
      })
      try {
        const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`
        const by = open({ 'gw.example': ['8.8.8.8', '8.8.4.4'] }, { by: { url, answersWithinMs: 600 } })
        const failure = await failureOf(send(by, 'https://gw.example/'))
        assert.equal(failure.reason, 'proxy')
        assert.equal(failure.detail, 'egress proxy: no connection in time')
        assert.equal(connections, 1)
      } finally {
        silent.close()
      }
    })
  })

  describe('that works, before an endpoint that does not', () => {
    it('and is silent about one address is asked for the next', async () => {
      proxy.answerWith((one) => (one.startsWith('8.8.8.8') ? 'never' : { toPort: endpointPort }))
      const by = open({ 'gw.example': ['8.8.8.8', '8.8.4.4'] }, { by: { answersWithinMs: 600 } })
      assert.equal((await send(by, 'https://gw.example/')).status, 202)
      assert.deepEqual(asked(), ['8.8.8.8:443', '8.8.4.4:443'])
    })

    it('and is silent about one endpoint while it answers for others leaves the blame to that one', async () => {
      proxy.answerWith((one) => (one.startsWith('8.8.8.8') ? 'never' : { toPort: endpointPort }))
      const names = { 'gw.example': ['8.8.4.4'], 'gone.example': ['8.8.8.8'] }
      const by = open(names, { by: { answersWithinMs: 600 } })
      const failure = failureOf(send(by, 'https://gone.example/'))
      await waitUntil('it was asked', async () => asked().length === 1)
      await send(by, 'https://gw.example/')
      assert.equal((await failure).reason, 'timeout')
    })

    it('is not blamed for a moment in which the hub itself stood still', async () => {
      proxy.answerWith(() => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700)
        return { toPort: endpointPort }
      })
      const by = open({ 'gw.example': ['8.8.8.8'] }, { by: { answersWithinMs: 500 } })
      assert.equal((await send(by, 'https://gw.example/')).status, 202)
    })

    it('and took CONNECT for one that says nothing: a timeout', async () => {
      const silent = createTcpServer((socket) => void socket.on('error', () => {}))
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
      try {
        proxy.answerWith(() => ({ toPort: (silent.address() as AddressInfo).port }))
        const by = open({ 'gw.example': ['8.8.8.8'] }, { by: { answersWithinMs: 600 } })
        const request = { url: 'https://gw.example/', method: 'POST', headers: {}, pool: 'urgent' } as const
        const failure = await failureOf(by.request({ ...request, deadlineMs: 1_000 }))
        assert.equal(failure.reason, 'timeout')
      } finally {
        silent.close()
      }
    })
  })

  describe('behind which the address check holds', () => {
    for (const resolves of [false, true]) {
      it(`for literals and spellings (R1, R2, R4), ${resolves ? 'the proxy' : 'the hub'} looking names up`, async () => {
        const by = open({}, { by: { resolves } })
        for (const url of REFUSED_BY_SIGHT) {
          await assert.rejects(by.checkUrl(url), AddressRefused, url)
          assert.equal((await failureOf(send(by, url))).reason, 'refused_address', url)
        }
        assert.deepEqual(asked(), [])
      })
    }

    it('for a name that turns private after it was registered (R3)', async () => {
      const answers = ['8.8.8.8', '10.0.0.1']
      const by = open(() => addresses(answers.shift() ?? ''))
      await by.checkUrl('https://gw.example/')
      assert.equal((await failureOf(send(by, 'https://gw.example/'))).reason, 'refused_address')
      assert.deepEqual(asked(), [])
    })

    it('for a name that leads to any of the refused addresses (R1, R2)', async () => {
      let found = ''
      const by = open(() => addresses(found))
      for (found of REFUSED_ADDRESSES) {
        assert.equal((await failureOf(send(by, 'https://gw.example/'))).reason, 'refused_address', found)
      }
      assert.deepEqual(asked(), [])
    })

    it('for a name with a private address among public ones (R3)', async () => {
      const by = open({ 'gw.example': ['8.8.8.8', '169.254.169.254'] })
      await assert.rejects(by.checkUrl('https://gw.example/'), AddressRefused)
      assert.equal((await failureOf(send(by, 'https://gw.example/'))).reason, 'refused_address')
      assert.deepEqual(asked(), [])
    })
  })

  describe('that looks names up', () => {
    const resolves = true
    const nobody = () => assert.fail('the hub looked a name up')

    it('is asked for the name, which the hub does not look up', async () => {
      const by = open(nobody, { by: { resolves } })
      await by.checkUrl('https://gw.example/')
      assert.equal((await send(by, 'https://gw.example/')).status, 202)
      assert.deepEqual(asked(), ['gw.example:443'])
    })

    it('is asked for no inside name', async () => {
      const by = open(nobody, { by: { resolves } })
      const names = [
        ...[
          'localhost',
          'localhost.',
          'localhost..',
          'a.localhost',
          'metadata',
          'db.local',
          'metadata.google.internal',
        ],
        ...[
          'kubernetes.default.svc',
          'Kubernetes.Default.SVC.',
          'db.default.svc.cluster',
          'a.svc.cluster.local',
        ],
        ...[
          'vault.service.consul',
          'consul',
          'web.nomad',
          'host.docker.internal',
          'x.onion',
          'x.test',
          'x.home',
        ],
        ...[
          '1.0.0.10.in-addr.arpa',
          'x.localhost',
          'x.invalid',
          'x.alt',
          'x.private',
          'x.mail',
          'x.localdomain',
        ],
        ...['METADATA.GOOGLE.INTERNAL.', 'metadata.goog', 'x.corp', 'x.lan', 'x.home.arpa', 'x.intranet'],
      ]
      const texts = new Set<string>()
      for (const name of names) {
        await by.checkUrl(`https://${name}/`).then(
          () => assert.fail(name),
          (error: Error) => texts.add(error.message),
        )
        assert.equal((await failureOf(send(by, `https://${name}/`))).reason, 'refused_address', name)
      }
      for (const name of [
        'localhost.example',
        'svc.example.com',
        'consul.io',
        'internal.example.com',
        'x.goog',
      ]) {
        await by.checkUrl(`https://${name}/`)
      }
      assert.equal(texts.size, 1)
      assert.deepEqual(asked(), [])
    })

    it('is not asked for names that are the hub’s own, which are checked as ever', async () => {
      const lookUp = { 'gw.corp': ['127.0.0.1'], 'bad.corp': ['10.0.0.1'], 'out.corp': ['8.8.8.8'] }
      const by = open(lookUp, { by: { resolves, localNames: ['corp'] }, allowedNetworks: ['127.0.0.1'] })
      await by.checkUrl('https://gw.corp/')
      // The certificate is of another name: the connection went straight.
      assert.equal((await failureOf(send(by, `https://gw.corp:${endpointPort}/`))).reason, 'tls')
      await assert.rejects(by.checkUrl('https://bad.corp/'), AddressRefused)
      assert.equal((await failureOf(send(by, 'https://bad.corp/'))).reason, 'refused_address')
      assert.deepEqual(asked(), [])
      await send(by, 'https://out.corp/').catch(() => {})
      assert.deepEqual(asked(), ['8.8.8.8:443'])
    })

    it('is not asked for plain http, whose address must be known', async () => {
      const by = open({ 'gw.example': ['8.8.8.8'] }, { by: { resolves } })
      await assert.rejects(by.checkUrl('http://gw.example/'), AddressRefused)
      assert.equal((await failureOf(send(by, 'http://gw.example/'))).reason, 'refused_address')
      assert.deepEqual(asked(), [])
    })
  })
})
