import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { type DemoChild, startChild } from '../../src/demo/child-process.js'
import type { EnforcementPointSettings } from '../../src/demo/enforcement-point.js'
import { listProcesses } from '../../src/demo/process-table.js'
import { waitUntil } from '../support/wait.js'
import { type MiniStream, startMiniHub } from './mini-hub.js'

const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
type Point = DemoChild<{ url: string; streamId: string }>

describe("the demo's enforcement point", () => {
  let idp: { issuer: string; key: CryptoKey; server: Server }
  let hub: Awaited<ReturnType<typeof startMiniHub>>
  /** What alice got at the moment each report arrived. */
  let accessAtReport: number[]
  let alice: string
  let bob: string
  const started: Point[] = []

  before(async () => {
    idp = await startIdp()
  })
  after(() => {
    idp.server.close()
    idp.server.closeAllConnections()
  })

  beforeEach(async () => {
    accessAtReport = []
    hub = await startMiniHub({
      async onReport() {
        accessAtReport.push(await look(started.at(-1) as Point, alice))
      },
    })
    alice = await signIn('alice', 'sid-alice')
    bob = await signIn('bob', 'sid-bob')
  })
  afterEach(async () => {
    await Promise.all(started.splice(0).map((point) => point.stop()))
    hub.close()
  })

  async function start(
    method: 'push' | 'poll',
    applyDelayMs = 0,
  ): Promise<{ point: Point; stream: MiniStream }> {
    const { body } = hub.createReceiver(`gw-${method}`)
    const settings: EnforcementPointSettings = {
      name: `gw-${method}`,
      hubIssuer: hub.url,
      credentials: { clientId: body.client_id, clientSecret: body.client_secret },
      method,
      applyDelayMs,
      sessions: { issuer: idp.issuer, jwksUri: `${idp.issuer}/jwks`, audience: 'apis' },
    }
    const point = await startChild<{ url: string; streamId: string }>({
      name: settings.name,
      file: './enforcement-point.js',
      settings,
      signal: new AbortController().signal,
      onStarted: () => {},
    })
    started.push(point)
    return { point, stream: hub.streams.at(-1) as MiniStream }
  }

  function signIn(user: string, sid: string): Promise<string> {
    return new SignJWT({ sid })
      .setProtectedHeader({ alg: 'RS256', kid: 'idp-1', typ: 'at+jwt' })
      .setIssuer(idp.issuer)
      .setSubject(user)
      .setAudience('apis')
      .setExpirationTime('5 min')
      .sign(idp.key)
  }

  const revocation = (subject: object) => ({
    txn: 'case-1',
    sub_id: subject,
    events: { [SESSION_REVOKED]: {} },
  })
  const aliceSession = () => ({
    format: 'complex',
    user: { format: 'iss_sub', iss: idp.issuer, sub: 'alice' },
    session: { format: 'opaque', id: 'sid-alice' },
  })

  it('lets sessions in until a pushed SET revokes one, then refuses that one and reports after it refuses', async () => {
    const { point, stream } = await start('push')
    assert.deepEqual(
      await Promise.all([look(point, alice), look(point, bob), look(point, 'x')]),
      [200, 200, 401],
    )
    const { set } = await hub.mint(stream, revocation(aliceSession()))
    assert.equal((await hub.push(stream, set)).status, 202)
    await waitUntil('the point reports applied', async () => stream.applied_ms !== undefined)
    assert.deepEqual(accessAtReport, [401])
    assert.deepEqual(await Promise.all([look(point, alice), look(point, bob)]), [401, 200])
    assert.deepEqual(point.problems(), [])
  })

  it('answers a repeat with 202 and reports it once', async () => {
    const { stream } = await start('push')
    const { set } = await hub.mint(stream, revocation(aliceSession()))
    assert.equal((await hub.push(stream, set)).status, 202)
    assert.equal((await hub.push(stream, set)).status, 202)
    const { set: other } = await hub.mint(stream, revocation({ format: 'opaque', id: 'sid-bob' }))
    await hub.push(stream, other)
    await waitUntil('two reports', async () => accessAtReport.length >= 2)
    assert.equal(accessAtReport.length, 2)
  })

  it('acknowledges before it applies when it is slow, and says applied only when it refuses', async () => {
    const { point, stream } = await start('push', 400)
    const { set } = await hub.mint(stream, revocation(aliceSession()))
    assert.equal((await hub.push(stream, set)).status, 202)
    assert.equal(await look(point, alice), 200)
    assert.equal(stream.applied_ms, undefined)
    await waitUntil('the point reports applied', async () => stream.applied_ms !== undefined)
    assert.deepEqual(accessAtReport, [401])
  })

  it('refuses what it must not believe, with the error of RFC 8935, and keeps the session', async () => {
    const { point, stream } = await start('push')
    const stranger = (await generateKeyPair('RS256')).privateKey
    const claims = revocation(aliceSession())
    const refused = async (changes: object) => {
      const { status, body } = await hub.push(stream, (await hub.mint(stream, claims, changes)).set)
      return [status, body?.err]
    }
    assert.deepEqual(await refused({ key: stranger }), [400, 'invalid_key'])
    assert.deepEqual(await refused({ audience: 'somebody-else' }), [400, 'invalid_audience'])
    assert.deepEqual(await refused({ issuer: 'https://evil.example' }), [400, 'invalid_issuer'])
    assert.equal((await hub.push(stream, 'not a SET')).body?.err, 'invalid_request')
    const { set } = await hub.mint(stream, claims)
    assert.equal((await hub.push(stream, set, 'Bearer guessed')).status, 401)
    assert.equal(await look(point, alice), 200)
  })

  it('receives by long poll, acknowledges what it took and reports what it refused', async () => {
    const { point, stream } = await start('poll')
    const good = await hub.mint(stream, revocation(aliceSession()))
    const bad = await hub.mint(stream, revocation(aliceSession()), { audience: 'somebody-else' })
    stream.held.set(bad.jti, bad.set)
    stream.held.set(good.jti, good.set)
    await waitUntil(
      'the point acknowledges and reports applied',
      async () => stream.held.size === 0 && stream.applied_ms !== undefined,
    )
    assert.deepEqual(stream.acknowledged, [good.jti])
    assert.equal((stream.refused[bad.jti] as { err: string }).err, 'invalid_audience')
    assert.equal(await look(point, alice), 401)
  })

  it('revokes all sessions of a user when the subject names no session', async () => {
    const { point, stream } = await start('push')
    const { set } = await hub.mint(stream, revocation({ format: 'iss_sub', iss: idp.issuer, sub: 'alice' }))
    await hub.push(stream, set)
    await waitUntil('the session is refused', async () => (await look(point, alice)) === 401)
    assert.equal(await look(point, bob), 200)
  })

  it('ends when the one that started it goes away', async () => {
    const { point } = await start('poll')
    await point.stop()
    assert.ok(!listProcesses().some(({ pid }) => pid === point.pid))
  })
})

async function startIdp() {
  const { privateKey, publicKey } = await generateKeyPair('RS256')
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'idp-1', alg: 'RS256' }] }
  const server = createServer((_req, res) => void res.end(JSON.stringify(jwks)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key: privateKey, server }
}

async function look(point: Point, token: string): Promise<number> {
  const response = await fetch(`${point.ready.url}/resource`, {
    headers: { authorization: `Bearer ${token}` },
  })
  await response.arrayBuffer()
  return response.status
}
