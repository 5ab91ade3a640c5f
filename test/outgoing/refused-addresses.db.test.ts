import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { addPushStream, addReceiver, type HubApi, hubApi } from '../support/hub-api.js'
import { REFUSED_BY_SIGHT } from '../support/refused-urls.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'

interface Refusal {
  code?: string
  message?: string
}

/** Loopback is listed in the settings of the hubs of tests, so that they can reach scripted endpoints. */
const isListed = (url: string): boolean => URL.canParse(url) && new URL(url).hostname.startsWith('127.')
const PUSH = 'urn:ietf:rfc:8935'

/** Where a caller says a URL that the hub will ask. */
describe('a URL that the hub does not send to (R1, R2, R4)', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let admin: HubApi
  let receiver: HubApi
  let streamId: string
  let transmitterId: string
  /** Of an issuer that names places of its choice. */
  let metadata: object = {}
  let issuer: Server
  let issuerUrl: string

  before(async () => {
    issuer = createServer((_req, res) =>
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(metadata)),
    )
    await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve))
    issuerUrl = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`
    hubs = await sharedTwoHubs()
    admin = hubApi(() => hubs.url, hubs.adminToken)
    receiver = hubApi(() => hubs.url, (await addReceiver(admin, randomUUID())).token)
    streamId = await addPushStream(receiver, 'https://127.0.0.1:8443/events')
    const body = transmitter({ jwks_uri: 'https://127.0.0.1:8443/keys' })
    transmitterId = (await admin.call<{ id: string }>('POST', '/v1/transmitters', body)).id
  })
  after(() => {
    issuer.closeAllConnections()
    issuer.close()
  })

  const transmitter = (keys: object) => ({
    name: randomUUID(),
    issuer: `https://${randomUUID()}.example`,
    audience: ['hub'],
    ...keys,
  })
  /** An issuer that is found with this document, and a stream to be made there. */
  function discovered(members: object, credentials: object = { token: 'token' }) {
    metadata = {
      issuer: issuerUrl,
      jwks_uri: 'https://127.0.0.1:8443/keys',
      configuration_endpoint: 'https://127.0.0.1:8443/streams',
      ...members,
    }
    const delivery = { method: 'poll', credentials }
    return admin.ask('POST', '/v1/transmitters', { name: randomUUID(), discover: issuerUrl, delivery })
  }
  const client = { client_id: 'hub', client_secret: 'secret' }
  const PLACES: Readonly<Record<string, (url: string) => Promise<{ status: number; body: unknown }>>> = {
    'the endpoint_url of a new stream': (url) =>
      receiver.ask('POST', '/ssf/streams', { delivery: { method: PUSH, endpoint_url: url } }),
    'the endpoint_url of a changed stream': (url) =>
      receiver.ask('PATCH', '/ssf/streams', {
        stream_id: streamId,
        delivery: { method: PUSH, endpoint_url: url },
      }),
    'the endpoint_url of a replaced stream': (url) =>
      receiver.ask('PUT', '/ssf/streams', {
        stream_id: streamId,
        delivery: { method: PUSH, endpoint_url: url },
      }),
    'the jwks_uri of a transmitter': (url) =>
      admin.ask('POST', '/v1/transmitters', transmitter({ jwks_uri: url })),
    'the issuer whose metadata is read': (url) =>
      admin.ask('POST', '/v1/transmitters', transmitter({ issuer: url, discover: url })),
    'the jwks_uri of a changed transmitter': (url) =>
      admin.ask('PATCH', `/v1/transmitters/${transmitterId}`, { jwks_uri: url }),
    'the jwks_uri in metadata': (url) => discovered({ jwks_uri: url }),
    'the configuration_endpoint in metadata': (url) => discovered({ configuration_endpoint: url }),
    'the status_endpoint in metadata': (url) => discovered({ status_endpoint: url }),
    'the token_endpoint of a stream upstream': (url) => discovered({}, { ...client, token_endpoint: url }),
    'the authorization_server of a stream upstream': (url) =>
      discovered({}, { ...client, authorization_server: url }),
  }

  for (const [place, send] of Object.entries(PLACES)) {
    it(`is refused as ${place}, with one text for all`, async () => {
      const messages = new Set<string>()
      for (const url of REFUSED_BY_SIGHT) {
        if (isListed(url)) continue
        const { status, body } = await send(url)
        const { code, message = '' } = body as Refusal
        assert.equal(status, 400, `${url}: ${JSON.stringify(body)}`)
        // What is no URI, or a bare word, is refused by its shape.
        if (code === 'ERR_ADDRESS_REFUSED') messages.add(message)
        else assert.equal(code, 'ERR_INVALID_REQUEST', url)
      }
      assert.equal(messages.size, 1, [...messages].join('\n'))
      assert.match([...messages][0] ?? '', /^The hub does not send requests to this URL/)
    })

    it(`is refused as ${place} where it leads to the hub’s own database`, async () => {
      const { connectionString } = hubs.db.client.config.connection as { connectionString: string }
      const { port } = new URL(connectionString)
      for (const scheme of ['http', 'https']) {
        const { status, body } = await send(`${scheme}://127.0.0.1:${port}/`)
        assert.deepEqual([status, (body as Refusal).code], [400, 'ERR_ADDRESS_REFUSED'])
      }
    })
  }

  it('changed nothing at what was there', async () => {
    const stream = await receiver.call<{ delivery: { endpoint_url: string } }>(
      'GET',
      `/ssf/streams?stream_id=${streamId}`,
    )
    assert.equal(stream.delivery.endpoint_url, 'https://127.0.0.1:8443/events')
    const kept = await admin.call<{ jwks_uri: string }>('GET', `/v1/transmitters/${transmitterId}`)
    assert.equal(kept.jwks_uri, 'https://127.0.0.1:8443/keys')
  })
})
