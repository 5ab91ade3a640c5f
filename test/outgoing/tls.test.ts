import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { buildConnector } from 'undici'
import type { Dial } from '../../src/outgoing/guarded-connect.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import { selfSigned } from './certificate.js'

describe('outgoing: TLS', () => {
  const certificate = selfSigned('gw.example')
  const asked: unknown[] = []
  let server: Server
  let port: number
  let requests = 0
  let outgoing: Outgoing

  before(async () => {
    server = createServer(certificate, (_req, res) => {
      requests += 1
      res.writeHead(202).end()
    })
    server.on('tlsClientError', () => {})
    server.on('secureConnection', (socket) => asked.push(socket.servername))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  })
  beforeEach(() => {
    requests = 0
    asked.length = 0
  })
  afterEach(() => outgoing.close())
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  /** The hub's own connector but for one more trusted certificate. */
  const trusting: Dial = ({ lookup, timeoutMs }) =>
    buildConnector({ lookup, timeout: timeoutMs, ca: certificate.cert } as buildConnector.BuildOptions)

  const open = (dial?: Dial) =>
    createOutgoing({
      allowedNetworks: ['127.0.0.1'],
      resolve: async () => [{ address: '127.0.0.1', family: 4 }],
      ...(dial && { dial }),
    })
  const send = (host: string) =>
    outgoing.request({
      url: `https://${host}:${port}/`,
      method: 'POST',
      headers: {},
      body: 'x',
      deadlineMs: 20_000,
      pool: 'urgent',
    })

  async function refusedByTls(host: string): Promise<void> {
    await assert.rejects(send(host), (error) => error instanceof OutgoingFailed && error.reason === 'tls')
    assert.equal(requests, 0)
  }

  it('goes to the checked address and asks for the name in the URL', async () => {
    outgoing = open(trusting)
    assert.equal((await send('gw.example')).status, 202)
    assert.deepEqual(asked, ['gw.example'])
  })

  it('sends nothing to a certificate that nobody vouches for', async () => {
    outgoing = open()
    await refusedByTls('gw.example')
  })

  it('sends nothing to a trusted certificate of another name', async () => {
    outgoing = open(trusting)
    await refusedByTls('other.example')
    await refusedByTls('127.0.0.1')
  })

  it('sends nothing to a trusted certificate whose time is over', async () => {
    const expired = selfSigned('gw.example', '200102000000Z')
    server.setSecureContext(expired)
    outgoing = open(({ lookup, timeoutMs }) =>
      buildConnector({ lookup, timeout: timeoutMs, ca: expired.cert } as buildConnector.BuildOptions),
    )
    await refusedByTls('gw.example')
  })
})
