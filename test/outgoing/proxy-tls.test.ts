import assert from 'node:assert/strict'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import { openTunnel } from '../../src/outgoing/proxy-tunnel.js'
import { createAuthority, type TestAuthority } from '../support/certificates.js'
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.js'

describe('outgoing: TLS with an egress proxy', function () {
  this.timeout(30_000)
  let authority: TestAuthority
  const proxies: ConnectProxy[] = []

  before(async () => {
    authority = await createAuthority()
  })
  after(() => authority.remove())
  afterEach(async () => {
    await Promise.all(proxies.splice(0).map((each) => each.close()))
  })

  /** One whose certificate is for `name`, issued by `by`. */
  async function start(name: string, by = authority): Promise<ConnectProxy> {
    const proxy = await startConnectProxy({ tls: await by.issue({ name }) })
    proxy.answerWith(() => ({ toPort: proxy.port }))
    proxies.push(proxy)
    return proxy
  }
  const urlOf = ({ port }: ConnectProxy, host: string) => `https://hub:secret@${host}:${port}`
  async function tunnel(url: string, endpoint: string, ca = authority.cert): Promise<void> {
    const socket = await openTunnel({ url, ca }, endpoint, 5_000)
    socket.destroy()
  }
  const isUntrusted = (error: unknown) =>
    error instanceof OutgoingFailed &&
    error.reason === 'proxy' &&
    /ERR_TLS_CERT_ALTNAME_INVALID/.test(error.detail ?? '')

  for (const endpoint of ['gw.example:443', '8.8.8.8:443', '[2606:4700::1111]:443']) {
    it(`asks for the proxy by its own name before it is asked for ${endpoint}`, async () => {
      const proxy = await start('localhost')
      await tunnel(urlOf(proxy, 'localhost'), endpoint)
      assert.deepEqual(
        proxy.asked.map((one) => [one.authority, one.servername]),
        [[endpoint, 'localhost']],
      )
    })
  }

  it('believes an address by a certificate for it, and asks for no name', async () => {
    const proxy = await start('127.0.0.1')
    await tunnel(urlOf(proxy, '127.0.0.1'), 'gw.example:443')
    assert.deepEqual(
      proxy.asked.map((one) => [one.authority, one.servername]),
      [['gw.example:443', false]],
    )
  })

  for (const host of ['localhost', '127.0.0.1']) {
    it(`tells no password to one at ${host} that has a certificate of the endpoint`, async () => {
      const impostor = await start('gw.example')
      await assert.rejects(tunnel(urlOf(impostor, host), 'gw.example:443'), isUntrusted)
      assert.deepEqual(impostor.asked, [])
    })
  }

  it('believes an authority that is listed without its root', async () => {
    const below = await authority.issueAuthority('Department')
    const proxy = await start('localhost', below)
    await tunnel(urlOf(proxy, 'localhost'), 'gw.example:443', below.cert)
    assert.equal(proxy.asked.length, 1)
  })
})
