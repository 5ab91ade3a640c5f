import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createWebhook } from '../../src/alerts/webhook.js'
import { createFetchJson } from '../../src/auth/fetch-json.js'
import { createIntrospection } from '../../src/auth/token-introspection.js'
import type { SendItem } from '../../src/delivery/open-delivery.js'
import { createPushAttempt } from '../../src/delivery/push-attempt.js'
import type { StreamTarget } from '../../src/delivery/stream-target-repository.js'
import { discoverIssuer } from '../../src/ingest/discovery.js'
import { createIssuerKeys, type KeyOwner } from '../../src/ingest/issuer-keys.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import type { Dial } from '../../src/outgoing/guarded-connect.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import { createAuthorizedRequest } from '../../src/upstream/authorized-request.js'
import { createManagementClient } from '../../src/upstream/management-client.js'
import { createPollClient } from '../../src/upstream/poll-client.js'
import { createTokenSource } from '../../src/upstream/token-source.js'
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.js'

const clock = createClock()

interface Door {
  readonly url: string
  /** Asks, and takes whatever failure there is as the hub does. */
  ask(outgoing: Outgoing, url: string): Promise<unknown>
  /** It checks the URL itself before it asks. */
  readonly checks?: true
}

function push(outgoing: Outgoing, endpointUrl: string): Promise<unknown> {
  const attempt = createPushAttempt({
    minter: { jtiOf: () => 'jti', refusalOf: () => undefined, mint: async () => 'a.b.c' },
    post: (request) => outgoing.request(request),
    clock,
    logger: silentLogger,
    metrics: createMetrics(),
    attemptTimeoutMs: 20_000,
    received: () => assert.fail('it was received'),
  })
  const item = { streamId: 's', lane: 'urgent', txn: 't', attempts: 0, content: {} }
  return attempt(item as unknown as SendItem, { endpointUrl } as unknown as StreamTarget)
}

function token(outgoing: Outgoing, where: { tokenEndpoint: string } | { authorizationServer: string }) {
  return createTokenSource({
    credentials: { kind: 'client', clientId: 'hub', ...where },
    secret: 'secret',
    issuer: 'https://idp.example',
    outgoing,
    clock,
  }).get()
}

const authorized = (outgoing: Outgoing) =>
  createAuthorizedRequest(outgoing, { get: async () => 'token', renew: async () => undefined }, [])

const fetchJson = (outgoing: Outgoing) =>
  createFetchJson((asked) => outgoing.request({ ...asked, pool: 'metadata' }))

/** Every part of the hub that asks somebody. */
const DOORS: Readonly<Record<string, Door>> = {
  'a push': { url: 'https://gw.example/events', ask: push },
  "an issuer's metadata": {
    url: 'https://idp.example',
    ask: (outgoing, url) => discoverIssuer(outgoing, true, url),
    checks: true,
  },
  "an issuer's keys": {
    url: 'https://idp.example/keys',
    ask: (outgoing, jwksUri) =>
      createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics: createMetrics() })
        .sourceFor({ id: 'idp', version: 1, jwksUri } as KeyOwner, clock.monotonicMs())
        .find({ kid: 'k', alg: 'ES256' }),
  },
  'a token endpoint': {
    url: 'https://as.example/token',
    ask: (outgoing, url) => token(outgoing, { tokenEndpoint: url }),
  },
  'the metadata of an authorization server': {
    url: 'https://as.example',
    ask: (outgoing, url) => token(outgoing, { authorizationServer: url }),
  },
  'the management of a stream upstream': {
    url: 'https://idp.example/streams',
    ask: (outgoing, url) =>
      createManagementClient({
        endpoints: { configuration: url, methods: ['poll'] },
        issuer: 'https://idp.example',
        send: authorized(outgoing),
        clock,
        signal: new AbortController().signal,
      }).list(),
  },
  'a poll': {
    url: 'https://idp.example/poll',
    ask: (outgoing, url) =>
      createPollClient({ send: authorized(outgoing), clock })(url, {
        maxEvents: 1,
        ack: [],
        setErrs: new Map(),
      }),
  },
  'the metadata of OAUTH_ISSUER': {
    url: 'https://as.example/.well-known/openid-configuration',
    ask: (outgoing, url) => fetchJson(outgoing)({ url }),
  },
  'the introspection of a token': {
    url: 'https://as.example/introspect',
    ask: (outgoing, endpoint) =>
      createIntrospection({
        endpoint,
        clientId: 'hub',
        clientSecret: 'secret',
        fetchJson: fetchJson(outgoing),
        clock,
        logger: silentLogger,
      })('token', { isSigned: true, isBlocked: false }),
  },
  'the webhook of alerts': {
    url: 'https://siem.example/hook',
    ask: (outgoing, url) =>
      createWebhook({ url, secrets: [Buffer.alloc(24)], outgoing, clock })(
        { id: 'm', body: '{}' },
        new AbortController().signal,
      ),
  },
}

describe('outgoing: a redirect to somewhere inside (R4)', () => {
  let outgoing: Outgoing
  let endpoint: Server
  let origin: string
  let asked: string[] = []

  before(async () => {
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1'] })
    endpoint = createServer((req, res) => {
      asked.push(req.url ?? '')
      res.writeHead(307, { location: `${origin}/inside` }).end()
    })
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve))
    origin = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}`
  })
  beforeEach(() => {
    asked = []
  })
  after(async () => {
    await outgoing.close()
    endpoint.closeAllConnections()
    endpoint.close()
  })

  for (const [what, { url, ask }] of Object.entries(DOORS)) {
    it(`is not followed by ${what}`, async () => {
      await ask(outgoing, origin + new URL(url).pathname.replace(/\/$/, '')).catch(() => {})
      assert.equal(asked.length, 1)
      assert.ok(!asked.includes('/inside'))
    })
  }
})

describe('outgoing: a name that turns private between its check and the connection (R3)', () => {
  let proxy: ConnectProxy
  let opened: Outgoing | undefined

  before(async () => {
    proxy = await startConnectProxy()
  })
  after(() => proxy.close())
  beforeEach(() => proxy.asked.splice(0))
  afterEach(() => opened?.close())

  /** What became of requests and where connections would have gone, when look-ups answer these in turn. */
  async function outcomeAt({ url, ask, checks }: Door, answers: string[], by: { proxied: boolean }) {
    const dialled: string[] = []
    const reasons: string[] = []
    const dial: Dial =
      ({ lookup }) =>
      (options, callback) => {
        lookup(options.hostname, { all: true }, (error, found) => {
          if (error) return callback(error, null)
          dialled.push(...(found as LookupAddress[]).map(({ address }) => address))
          callback(Object.assign(new Error('not dialled in a test'), { code: 'ECONNREFUSED' }), null)
        })
      }
    const outgoing = createOutgoing({
      allowedNetworks: [],
      dial,
      resolve: async () => [{ address: answers.shift() ?? assert.fail('one look-up too many'), family: 4 }],
      ...(by.proxied
        ? { proxy: { url: proxy.url, resolves: false, localNames: [], answersWithinMs: 2_800 } }
        : {}),
    })
    opened = outgoing
    const watched: Outgoing = {
      ...outgoing,
      async request(request) {
        try {
          return await outgoing.request(request)
        } catch (error) {
          assert.ok(error instanceof OutgoingFailed)
          reasons.push(error.reason)
          throw error
        }
      },
    }
    if (!checks) await outgoing.checkUrl(url)
    await ask(watched, url).catch(() => {})
    return { reasons, reached: [...dialled, ...proxy.asked.map(({ authority }) => authority)] }
  }

  for (const [what, door] of Object.entries(DOORS)) {
    it(`is not reached by ${what}`, async () => {
      assert.deepEqual(await outcomeAt(door, ['8.8.8.8', '8.8.8.8'], { proxied: false }), {
        reasons: ['connect'],
        reached: ['8.8.8.8'],
      })
      for (const inside of ['127.0.0.1', '10.0.0.1', '169.254.169.254']) {
        assert.deepEqual(await outcomeAt(door, ['8.8.8.8', inside], { proxied: false }), {
          reasons: ['refused_address'],
          reached: [],
        })
      }
    })

    it(`is not reached by ${what} through a proxy`, async () => {
      assert.deepEqual(await outcomeAt(door, ['8.8.8.8', '8.8.8.8'], { proxied: true }), {
        reasons: ['proxy'],
        reached: ['8.8.8.8:443'],
      })
      proxy.asked.splice(0)
      assert.deepEqual(await outcomeAt(door, ['8.8.8.8', '10.0.0.1'], { proxied: true }), {
        reasons: ['refused_address'],
        reached: [],
      })
    })
  }
})
