import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { addReceiver, hubApi } from '../../support/hub-api.js'
import { SESSION_REVOKED } from '../../support/upstream.js'
import { waitUntil } from '../../support/wait.js'
import { attemptsOf } from '../endpoint-watch.js'
import { ACCEPTED, startRawEndpoint } from '../raw-endpoint.js'
import type { FaultRig, FaultScene } from '../rig.js'
import type { Row } from '../row.js'

/** Only the endpoints of the row itself may be reached. */
const HERE_ONLY = { FIREBREAK_ALLOWED_NETWORKS: '127.0.0.1/32' }

async function canaryAt(rig: FaultRig, host: string) {
  const canary = await startRawEndpoint(({ socket }) => socket.write(ACCEPTED), { host })
  rig.atEnd(() => canary.close())
  return canary
}

interface Refusal {
  readonly status: number
  readonly text: string
}

/** The same URL as an endpoint, as the place of keys and as metadata. */
async function registered(scene: FaultScene, url: string, n: number): Promise<Refusal[]> {
  const { token } = await addReceiver(scene.admin, `receiver ${n}`)
  const asReceiver = hubApi(() => new URL(scene.ingestUrls[0] as string).origin, token)
  const answers = [
    await asReceiver.ask('POST', '/ssf/streams', {
      events_requested: [SESSION_REVOKED],
      delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: url },
    }),
    await scene.admin.ask('POST', '/v1/transmitters', {
      name: `t ${n}`,
      issuer: `https://t${n}.example`,
      audience: 'https://hub.example',
      jwks_uri: url,
    }),
  ]
  return answers.map(({ status, body }) => ({ status, text: JSON.stringify(body) }))
}

/** Each is refused, in the same words, and nobody was asked. */
function refuses(row: Pick<Row, 'id' | 'title'>, urlsAt: (port: number) => readonly string[]): Row {
  return {
    ...row,
    expected: 'refused when it is registered, in the same words; the canary is never contacted',
    async run(rig) {
      const canary = await canaryAt(rig, '127.0.0.2')
      const hub = await rig.hub({ env: HERE_ONLY })
      const scene = await rig.scene([hub], { push: 1, poll: 0 })
      const load = rig.load(scene)
      const urls = urlsAt(canary.port)
      const words = new Set<string>()
      await rig.during(async () => {
        for (const [n, url] of urls.entries()) {
          for (const { status, text } of await registered(scene, url, n)) {
            assert.equal(status, 400, `${url}: ${text}`)
            words.add(text)
          }
        }
      })
      await load.stop()
      assert.equal(canary.connections(), 0)
      assert.ok(words.size <= 2, [...words].join(' | '))
      return `${urls.length} URLs as endpoint and as place of keys; refused in ${words.size} wording(s)`
    },
  }
}

const plain = refuses(
  { id: 'R1', title: 'URLs of loopback, private, link-local and metadata addresses' },
  (port) =>
    [
      '127.0.0.2',
      '10.0.0.1',
      '172.16.0.1',
      '192.168.0.1',
      '100.64.0.1',
      '169.254.169.254',
      '168.63.129.16',
      '0.0.0.0',
      '255.255.255.255',
      '224.0.0.1',
      '[::1]',
      '[::]',
      '[fe80::1]',
      '[fc00::1]',
      '[fd00:ec2::254]',
      '[ff02::1]',
    ].map((host) => `https://${host}:${port}/keys`),
)

const disguised = refuses(
  { id: 'R2', title: 'the same addresses as IPv6, decimal, octal, hex, short and full-width' },
  (port) =>
    [
      '[::ffff:127.0.0.2]',
      '[::ffff:7f00:2]',
      '[::7f00:2]',
      '[2002:7f00:0002::]',
      '[64:ff9b::7f00:2]',
      '[64:ff9b:1::7f00:2]',
      '[2001:0:7f00:2::]',
      '2130706434',
      '0x7f000002',
      '0177.0.0.2',
      '127.2',
      '127.0.2',
      '１２７.0.0.2',
      '127。0。0。2',
    ].map((host) => `https://${host}:${port}/keys`),
)

const odd = refuses(
  { id: 'R4', title: 'user names, other schemes, line ends, back-slashes and own ports in URLs' },
  (port) => [
    `https://user@127.0.0.1:${port}/keys`,
    `https://user:word@127.0.0.1:${port}/keys`,
    `https://127.0.0.1@127.0.0.2:${port}/keys`,
    `ftp://127.0.0.1:${port}/keys`,
    `file:///etc/passwd`,
    `gopher://127.0.0.1:${port}/keys`,
    `https://127.0.0.1:${port}\\@127.0.0.2/keys`,
    `https:\\\\127.0.0.2:${port}/keys`,
    `https://127.0.0.1:${port}/keys\r\nX: y`,
    `https://127.0.0.2:${port}/\tkeys`,
    `http://127.0.0.2:${port}/keys`,
  ],
)

const narrowed: Row = {
  id: 'R3',
  title: 'an address that was allowed when its stream was made, and is no longer',
  expected: 'refused at each connect; the endpoint hears nothing more',
  async run(rig) {
    const canary = await canaryAt(rig, '127.0.0.3')
    const hub = await rig.hub()
    const scene = await rig.scene([hub], { push: 1, poll: 0 })
    await scene.addPushTo('narrowed', canary.url)
    scene.ledger.release('narrowed')
    const load = rig.load(scene)
    await waitUntil('it gets SETs', () => canary.requests() >= 12)
    hub.signal('SIGKILL')
    await hub.ended()
    Object.assign(hub.env, HERE_ONLY)
    const heard = canary.connections()
    hub.start()
    await hub.ready()
    await rig.during(async () => {
      const failed = () => attemptsOf(hub, scene.streamIds.get('narrowed')).length
      await waitUntil('attempts are refused', () => failed() >= 2)
      await delay(rig.scaled(20_000, 1_000))
    })
    await load.stop()
    assert.equal(canary.connections(), heard)
    return 'not one connection after the restart with narrower networks'
  },
}

const proxied: Row = {
  id: 'R5',
  title: 'HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NODE_USE_ENV_PROXY are set',
  expected: 'ignored: the hub connects as its own settings say',
  async run(rig) {
    const canary = await canaryAt(rig, '127.0.0.4')
    const url = `http://127.0.0.4:${canary.port}`
    const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy']
    const env = { NODE_USE_ENV_PROXY: '1', ...Object.fromEntries(names.map((name) => [name, url])) }
    const hub = await rig.hub({ env })
    const scene = await rig.scene([hub])
    const load = rig.load(scene)
    await rig.during(() => waitUntil('SETs are sent', () => load.accepted >= 48))
    await load.stop()
    assert.equal(canary.connections(), 0)
    return 'the proxy was never contacted'
  },
}

export const ADDRESS_ROWS: readonly Row[] = [plain, disguised, narrowed, odd, proxied]
