import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { createAddressRules } from '../../src/outgoing/address-rules.js'
import { createGuardedConnect, type Dial } from '../../src/outgoing/guarded-connect.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { AddressRefused, OutgoingFailed } from '../../src/outgoing/outgoing-errors.js'
import type { ResolvedAddress } from '../../src/outgoing/resolver.js'
import { createUrlRules } from '../../src/outgoing/url-rules.js'
import { startConnectProxy } from '../support/connect-proxy.js'
import { REFUSED_ADDRESSES } from '../support/refused-urls.js'
import { waitUntil } from '../support/wait.js'

/** Opens no socket: says what addresses one would have gone to. */
function recordingDial(dialled: string[]): Dial {
  return ({ lookup }) =>
    (options, callback) => {
      lookup(options.hostname, { all: true }, (error, addresses) => {
        if (error) return callback(error, null)
        dialled.push(...(addresses as LookupAddress[]).map(({ address }) => address))
        callback(Object.assign(new Error('not dialled in a test'), { code: 'ECONNREFUSED' }), null)
      })
    }
}

const v4 = (...addresses: string[]): ResolvedAddress[] =>
  addresses.map((address) => ({ address, family: 4 as const }))

function request(outgoing: Outgoing, url: string) {
  return outgoing.request({ url, method: 'POST', headers: {}, body: 'x', deadlineMs: 20_000, pool: 'urgent' })
}

async function reasonOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => assert.fail('it was answered'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof OutgoingFailed, String(error))
  return error.reason
}

describe('outgoing: the guard at connect', () => {
  let outgoing: Outgoing
  let canary: Server
  let canaryHits = 0
  let canaryPort: number

  before(async () => {
    canary = createServer((_req, res) => {
      canaryHits += 1
      res.end()
    })
    canary.on('connection', () => {
      canaryHits += 1
    })
    await new Promise<void>((resolve) => canary.listen(0, '127.0.0.1', resolve))
    canaryPort = (canary.address() as AddressInfo).port
  })
  beforeEach(() => {
    canaryHits = 0
  })
  afterEach(() => outgoing.close())
  after(() => canary.close())

  it('dials all checked addresses of a public name and asks the resolver once', async () => {
    const dialled: string[] = []
    const asked: string[] = []
    outgoing = createOutgoing({
      allowedNetworks: [],
      dial: recordingDial(dialled),
      resolve: async (name) => {
        asked.push(name)
        return v4('8.8.8.8', '8.8.4.4')
      },
    })
    assert.equal(await reasonOf(request(outgoing, 'https://gw.example/events')), 'connect')
    assert.deepEqual(dialled, ['8.8.8.8', '8.8.4.4'])
    assert.deepEqual(asked, ['gw.example'])
  })

  it('refuses a name that turns private between creation and send (R3 rebinding)', async () => {
    const dialled: string[] = []
    const answers = [v4('8.8.8.8'), v4('127.0.0.1')]
    outgoing = createOutgoing({
      allowedNetworks: [],
      dial: recordingDial(dialled),
      resolve: async () => answers.shift() ?? [],
    })
    await outgoing.checkUrl('https://gw.example/events')
    assert.equal(await reasonOf(request(outgoing, 'https://gw.example/events')), 'refused_address')
    assert.deepEqual(dialled, [])
  })

  it('refuses a name with one private address among public ones (R3 mixed)', async () => {
    const dialled: string[] = []
    outgoing = createOutgoing({
      allowedNetworks: [],
      dial: recordingDial(dialled),
      resolve: async () => v4('8.8.8.8', '10.0.0.8'),
    })
    await assert.rejects(outgoing.checkUrl('https://gw.example/'), AddressRefused)
    assert.equal(await reasonOf(request(outgoing, 'https://gw.example/')), 'refused_address')
    assert.deepEqual(dialled, [])
  })

  it('refuses a name that leads to any of the refused addresses, alone or among public ones (R1, R2)', async () => {
    assert.ok(REFUSED_ADDRESSES.length > 40)
    for (const address of REFUSED_ADDRESSES) {
      const family = address.includes(':') ? 6 : 4
      for (const found of [
        [{ address, family } as const],
        [...v4('8.8.8.8'), { address, family } as const],
      ]) {
        const dialled: string[] = []
        outgoing = createOutgoing({
          allowedNetworks: [],
          dial: recordingDial(dialled),
          resolve: async () => found,
        })
        await assert.rejects(outgoing.checkUrl('https://gw.example/'), AddressRefused, address)
        assert.equal(await reasonOf(request(outgoing, 'https://gw.example/')), 'refused_address', address)
        assert.deepEqual(dialled, [])
        await outgoing.close()
      }
    }
  })

  it('refuses a mapped loopback answer of a resolver (R2)', async () => {
    const dialled: string[] = []
    outgoing = createOutgoing({
      allowedNetworks: ['127.0.0.0/8'],
      dial: recordingDial(dialled),
      resolve: async () => [{ address: '::ffff:127.0.0.1', family: 6 }],
    })
    assert.equal(await reasonOf(request(outgoing, 'https://gw.example/')), 'refused_address')
    assert.deepEqual(dialled, [])
  })

  it('refuses literals although undici asks no resolver for them, and the canary hears nothing', async () => {
    outgoing = createOutgoing({ allowedNetworks: [], resolve: () => assert.fail('a literal was resolved') })
    for (const host of ['127.0.0.1', '127.1', '2130706433', '[::ffff:127.0.0.1]', '0.0.0.0', '[::1]']) {
      for (const scheme of ['http', 'https']) {
        const url = `${scheme}://${host}:${canaryPort}/`
        await assert.rejects(outgoing.checkUrl(url), AddressRefused)
        assert.equal(await reasonOf(request(outgoing, url)), 'refused_address')
      }
    }
    assert.equal(canaryHits, 0)
  })

  it('refuses a literal in the connect hook itself, behind the URL rules', async () => {
    outgoing = createOutgoing({ allowedNetworks: [] })
    const connect = createGuardedConnect({
      rules: createUrlRules(createAddressRules([])),
      resolve: () => assert.fail('a literal was resolved'),
      timeoutMs: 20_000,
      dial: () => () => assert.fail('a refused literal was dialled'),
    })
    for (const hostname of ['127.0.0.1', '[::ffff:10.0.0.1]', '::1']) {
      const error = await new Promise((resolve) => {
        connect({ hostname, protocol: 'https:', port: '443' }, (...[refusal]) => resolve(refusal))
      })
      assert.ok(error instanceof AddressRefused)
    }
  })

  it('refuses plain http to a public name at creation and at send', async () => {
    const dialled: string[] = []
    outgoing = createOutgoing({
      allowedNetworks: ['127.0.0.0/8'],
      dial: recordingDial(dialled),
      resolve: async () => v4('8.8.8.8'),
    })
    await assert.rejects(outgoing.checkUrl('http://gw.example/'), AddressRefused)
    assert.equal(await reasonOf(request(outgoing, 'http://gw.example/')), 'refused_address')
    assert.deepEqual(dialled, [])
  })

  it('gives no oracle: an unknown name and a private one read the same at creation', async () => {
    const resolve = async (name: string) => {
      if (name === 'private.example') return v4('10.0.0.1')
      throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })
    }
    outgoing = createOutgoing({ allowedNetworks: [], resolve })
    const texts = await Promise.all(
      ['https://private.example/', 'https://missing.example/', 'https://10.0.0.1/'].map((url) =>
        outgoing.checkUrl(url).then(
          () => assert.fail(`${url} was let through`),
          (error: AddressRefused) => `${error.code} ${error.message}`,
        ),
      ),
    )
    assert.equal(new Set(texts).size, 1)
    assert.equal(await reasonOf(request(outgoing, 'https://missing.example/')), 'dns')
  })

  it('reads no proxy settings of the environment (R5)', async () => {
    const names = [
      'HTTP_PROXY',
      'http_proxy',
      'HTTPS_PROXY',
      'https_proxy',
      'ALL_PROXY',
      'all_proxy',
      'NODE_USE_ENV_PROXY',
    ]
    const kept = names.map((name) => process.env[name])
    for (const name of names)
      process.env[name] = name.startsWith('NODE') ? '1' : `http://127.0.0.1:${canaryPort}`
    try {
      const dialled: string[] = []
      outgoing = createOutgoing({
        allowedNetworks: [],
        dial: recordingDial(dialled),
        resolve: async () => v4('8.8.8.8'),
      })
      assert.equal(await reasonOf(request(outgoing, 'https://gw.example/')), 'connect')
      assert.deepEqual(dialled, ['8.8.8.8'])
      assert.equal(canaryHits, 0)
    } finally {
      names.forEach((name, index) => {
        const value = kept[index]
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      })
    }
  })

  it('fails a request whose connection cannot even be begun, and leaves no tunnel behind', async () => {
    const proxy = await startConnectProxy()
    proxy.answerWith(() => ({ toPort: canaryPort }))
    try {
      outgoing = createOutgoing({
        allowedNetworks: [],
        proxy: { url: proxy.url, resolves: false, localNames: [], answersWithinMs: 2_800 },
        dial: () => () => {
          throw Object.assign(new Error('not dialled in a test'), { code: 'ECONNREFUSED' })
        },
        resolve: async () => v4('8.8.8.8'),
      })
      assert.equal(await reasonOf(request(outgoing, 'https://gw.example/')), 'connect')
      assert.equal(proxy.asked.length, 1)
      const open = promisify(canary.getConnections.bind(canary))
      await waitUntil('the tunnel is closed', async () => (await open()) === 0)
    } finally {
      await proxy.close()
    }
  })

  it('connects a name to the address that was checked', async () => {
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1/32'], resolve: async () => v4('127.0.0.1') })
    const answer = await request(outgoing, `http://gw.example:${canaryPort}/`)
    assert.equal(answer.status, 200)
    assert.equal(canaryHits, 2)
  })
})
