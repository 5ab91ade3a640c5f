import assert from 'node:assert/strict'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createIssuerKeys, type IssuerKeys } from '../../src/ingest/issuer-keys.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { KeysUnavailable } from '../../src/secevent/verify-set.js'
import { waitUntil } from '../support/wait.js'
import { ec, listLogger, manualClock, publicJwk, rsa, transmitterOf } from './ingest-fixture.js'

const K1 = publicJwk(rsa.publicKey, { kid: 'k1', alg: 'RS256' })
const K2 = publicJwk(ec.publicKey, { kid: 'k2', alg: 'ES256' })
const RS1 = { kid: 'k1', alg: 'RS256' }
const ES2 = { kid: 'k2', alg: 'ES256' }

describe('ingest: keys of an issuer', () => {
  let issuer: Server
  let outgoing: Outgoing
  let transmitter: Transmitter
  let clock: ReturnType<typeof manualClock>
  let keys: IssuerKeys
  let fetches: number
  let accepted: string | undefined
  let metrics: Metrics
  let lines: ReturnType<typeof listLogger>['lines']
  let respond: (res: ServerResponse) => void

  const serveKeys = (...list: object[]) => {
    respond = (res) => void res.end(JSON.stringify({ keys: list }))
  }

  beforeEach(async () => {
    fetches = 0
    serveKeys(K1)
    issuer = createServer((req, res) => {
      fetches += 1
      accepted = req.headers.accept
      respond(res)
    })
    await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve))
    const uri = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/jwks`
    const { jwks: _none, ...rest } = transmitterOf()
    transmitter = { ...rest, jwksUri: uri }
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.0/8'] })
    clock = manualClock()
    metrics = createMetrics()
    const listed = listLogger()
    lines = listed.lines
    keys = createIssuerKeys({ outgoing, clock, logger: listed.logger, metrics })
  })
  afterEach(async () => {
    await outgoing.close()
    issuer.closeAllConnections()
    await new Promise((resolve) => issuer.close(resolve))
  })

  const find = (header: { kid: string; alg: string }) =>
    keys.sourceFor(transmitter, clock.monotonicMs()).find(header)
  const fail = () => {
    respond = (res) => void res.writeHead(503).end()
  }

  async function retryAfter(work: Promise<unknown>): Promise<number> {
    const error = await work.then(
      () => assert.fail('keys were found'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof KeysUnavailable, String(error))
    assert.equal(error.status, 503)
    return error.retryAfterS ?? 0
  }

  it('fetches once for many SETs at once, and then serves from memory', async () => {
    const found = await Promise.all(Array.from({ length: 50 }, () => find(RS1)))
    assert.ok(found.every(Boolean))
    assert.ok(await find(RS1))
    assert.equal(fetches, 1)
  })

  it('finds a new key by one refresh, at most a cool-down after the last (J2)', async () => {
    await find(RS1)
    serveKeys(K1, K2)
    clock.advance(1)
    const wait = await retryAfter(find(ES2))
    assert.ok(wait >= 1 && wait <= 5)
    clock.advance(wait * 1000)
    assert.ok(await find(ES2))
    assert.equal(fetches, 2)
  })

  it('is certain that a key is unknown only by a refresh that began after the SET arrived', async () => {
    await find(RS1)
    clock.advance(60_000)
    assert.equal(await find(ES2), undefined)
    assert.equal(fetches, 2)
    clock.advance(1)
    await retryAfter(find(ES2))
    assert.equal(fetches, 2)
  })

  it('says later to a SET that joins a fetch begun before it came', async () => {
    await find(RS1)
    clock.advance(60_000)
    const waiting: ServerResponse[] = []
    respond = (res) => void waiting.push(res)
    const early = find(ES2)
    await waitUntil('a request', () => waiting.length > 0)
    clock.advance(10)
    const late = retryAfter(find(ES2))
    waiting[0]?.end(JSON.stringify({ keys: [K1] }))
    assert.equal(await early, undefined)
    assert.ok((await late) >= 1)
    assert.equal(fetches, 2)
  })

  it('asks once per cool-down in a flood of unknown kids, and J2 still holds (J3)', async () => {
    await find(RS1)
    clock.advance(60_000)
    const flood = Array.from({ length: 100 }, (_, index) => find({ kid: `x${index}`, alg: 'RS256' }))
    for (const result of await Promise.all(flood)) assert.equal(result, undefined)
    assert.equal(fetches, 2)
    serveKeys(K1, K2)
    clock.advance(1)
    for (let index = 0; index < 20; index += 1) await retryAfter(find({ kid: `y${index}`, alg: 'RS256' }))
    assert.equal(fetches, 2)
    clock.advance(5_000)
    assert.ok(await find(ES2))
    assert.equal(fetches, 3)
  })

  it('lets only so many SETs wait for a fetch, and tells the others to come back', async () => {
    await find(RS1)
    clock.advance(60_000)
    const flood = Array.from({ length: 100 }, (_, index) => find({ kid: `x${index}`, alg: 'RS256' }))
    const refused = find({ kid: 'x100', alg: 'RS256' })
    await retryAfter(refused)
    // Who names a known key does not wait.
    assert.ok(await find(RS1))
    await Promise.all(flood)
    clock.advance(6_000)
    assert.equal(await find({ kid: 'x101', alg: 'RS256' }), undefined)
  })

  it('says later while the first fetch fails, and tries again after the cool-down', async () => {
    fail()
    await retryAfter(find(RS1))
    await retryAfter(find(RS1))
    assert.equal(fetches, 1)
    serveKeys(K1)
    clock.advance(5_000)
    assert.ok(await find(RS1))
  })

  it('serves known keys while the issuer is down, up to a day (J1)', async () => {
    await find(RS1)
    fail()
    for (let hour = 1; hour <= 24; hour += 1) {
      clock.advance(3_599_000)
      assert.ok(await find(RS1))
    }
    await retryAfter(find(ES2))
    clock.advance(3_600_000)
    await retryAfter(find(RS1))
  })

  it('names an issuer whose keys cannot be fetched, since when, and how long those that are known count', async () => {
    assert.deepEqual(keys.failing(), [])
    await find(RS1)
    assert.deepEqual(keys.failing(), [])
    fail()
    clock.advance(3_600_000)
    assert.ok(await find(RS1))
    const failing = await waitUntil('the fetch fails', () => keys.failing()[0])
    const { id, name } = transmitter
    const sinceMonotonicMs = clock.monotonicMs()
    assert.deepEqual(failing, { id, name, sinceMonotonicMs, lastForMs: 23 * 3_600_000 })
    clock.advance(600_000)
    const later = keys.failing()[0]
    assert.deepEqual(
      [later?.sinceMonotonicMs, later?.lastForMs],
      [sinceMonotonicMs, 22 * 3_600_000 + 3_000_000],
    )
  })

  it('says of an issuer that never answered that no key of it is known', async () => {
    fail()
    await retryAfter(find(RS1))
    const [failing] = keys.failing()
    assert.deepEqual([failing?.sinceMonotonicMs, failing?.lastForMs], [clock.monotonicMs(), undefined])
  })

  it('sees that an issuer answers again without a SET of it, at most every 15 s', async () => {
    fail()
    await retryAfter(find(RS1))
    serveKeys(K1)
    clock.advance(15_000)
    assert.equal(keys.failing().length, 1)
    clock.advance(1)
    assert.equal(fetches, 1)
    assert.equal(keys.failing().length, 1)
    await waitUntil('it is asked again', () => keys.failing().length === 0)
    assert.equal(fetches, 2)
  })

  it('neither names nor asks an issuer any more whose keys were given by hand', async () => {
    fail()
    await retryAfter(find(RS1))
    const { jwksUri: _dead, ...rest } = transmitter
    transmitter = { ...rest, version: rest.version + 1, jwks: { keys: [K1] } }
    assert.ok(await find(RS1))
    clock.advance(15_001)
    assert.deepEqual(keys.failing(), [])
    assert.equal(fetches, 1)
  })

  it('neither names nor asks an issuer that nobody needed for a quarter of an hour', async () => {
    fail()
    await retryAfter(find(RS1))
    clock.advance(900_001)
    assert.deepEqual(keys.failing(), [])
    assert.equal(fetches, 1)
  })

  it('refuses a removed key once it has refreshed (J4)', async () => {
    await find(RS1)
    serveKeys(K2)
    clock.advance(301_000)
    // This one is still served from memory, and sets the refresh off.
    assert.ok(await find(RS1))
    await waitUntil('the second fetch', () => fetches >= 2)
    clock.advance(5_000)
    assert.equal(await find(RS1), undefined)
  })

  it('fetches known keys again only when they are older than five minutes', async () => {
    let asked = 0
    const counted: Pick<Outgoing, 'request'> = {
      request(request) {
        asked += 1
        return outgoing.request(request)
      },
    }
    keys = createIssuerKeys({ outgoing: counted, clock, logger: silentLogger, metrics: createMetrics() })
    await find(RS1)
    clock.advance(300_000)
    assert.ok(await find(RS1))
    assert.equal(asked, 1)
    clock.advance(1)
    assert.ok(await find(RS1))
    assert.equal(asked, 2)
  })

  it('believes keys for a day, and no longer', async () => {
    await find(RS1)
    fail()
    clock.advance(86_400_000)
    assert.ok(await find(RS1))
    await waitUntil('a fetch that failed', () => lines.length > 0)
    clock.advance(1)
    await retryAfter(find(RS1))
  })

  it('counts its fetches by result, and tells of failed ones how old the keys are', async () => {
    const count = async (result: string) =>
      Number(
        new RegExp(`_refreshes_total\\{result="${result}"\\} (\\d+)`).exec(await metrics.render())?.[1] ?? 0,
      )
    fail()
    await retryAfter(find(RS1))
    clock.advance(5_000)
    serveKeys(K1)
    await find(RS1)
    assert.equal(accepted, 'application/jwk-set+json, application/json')
    assert.deepEqual([await count('ok'), await count('failed')], [1, 1])
    fail()
    clock.advance(61_000)
    await retryAfter(find(ES2))
    assert.deepEqual([await count('ok'), await count('failed')], [1, 2])
    const line = { transmitter_id: transmitter.id, error: 'the JWKS endpoint answered 503' }
    assert.deepEqual(lines, [
      { level: 'warn', event: 'issuer_keys.refresh_failed', fields: { ...line, age_s: undefined } },
      { level: 'warn', event: 'issuer_keys.refresh_failed', fields: { ...line, age_s: 61 } },
    ])
  })

  const UNUSABLE: Record<string, (res: ServerResponse) => void> = {
    'an endless answer': (res) => {
      const pump = () => {
        while (!res.destroyed && res.write('a'.repeat(16_384))) {}
      }
      res.on('drain', pump)
      pump()
    },
    'status 404 with other keys': (res) => res.writeHead(404).end(JSON.stringify({ keys: [K2] })),
    'a redirect': (res) => res.writeHead(302, { location: transmitter.jwksUri ?? '' }).end(),
    HTML: (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    'JSON of another shape': (res) => res.end('[1]'),
    '10,000 keys': (res) =>
      res.end(JSON.stringify({ keys: Array.from({ length: 10_000 }, () => ({ kty: 'x' })) })),
    'a compressed answer': (res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
  }
  for (const [title, script] of Object.entries(UNUSABLE)) {
    it(`takes ${title} for a failed fetch and keeps the keys it has (J6)`, async () => {
      await find(RS1)
      clock.advance(60_000)
      respond = script
      await retryAfter(find(ES2))
      assert.ok(await find(RS1))
      assert.equal(fetches, 2)
    })
  }

  it('takes other keys at once when the transmitter is given another address', async () => {
    await find(RS1)
    serveKeys(K2)
    transmitter = { ...transmitter, jwksUri: `${transmitter.jwksUri}?new`, version: 2 }
    assert.ok(await find(ES2))
  })

  it('serves pinned keys without a fetch, and the new ones after a change', async () => {
    transmitter = transmitterOf()
    assert.ok(await find(RS1))
    assert.equal(await find(ES2), undefined)
    transmitter = transmitterOf({ jwks: { keys: [K2] }, version: 2 })
    assert.equal(await find(RS1), undefined)
    assert.ok(await find(ES2))
    assert.equal(fetches, 0)
  })
})
