import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { type HubProcess, startHub } from '../support/hub-process.js'
import { filesBelow, ROOT, readText } from '../support/source-files.js'

const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
/** Only with Kafka, or with TLS of the hub's own. */
const ELSEWHERE = [
  'firebreak_log_failover_active',
  'firebreak_tls_certificate_expires_timestamp_seconds',
  'firebreak_tls_reloads_total',
]
/** Where `npm run setup:test` puts it; else the one on the PATH. */
const CACHED_PROMTOOL = join(ROOT, '.cache', 'promtool', 'usr', 'bin', 'promtool')

describe('a running hub, seen by its operator', function () {
  this.timeout(120_000)
  let hub: HubProcess
  let admin: string
  /** What must never be seen in the log: each is in a request that the hub handled. */
  const canaries: string[] = []

  before(async () => {
    hub = await startHub({ env: { LOG_LEVEL: 'debug', FIREBREAK_ADMIN_TOKEN: '' } })
    admin = readFileSync(join(hub.dataDir, 'admin-token'), 'utf8').trim()
    canaries.push(admin)
    await driveOneEvent()
  })
  after(() => hub?.remove())

  async function call<T>(path: string, init: { token: string; body?: object | URLSearchParams }): Promise<T> {
    const { token, body } = init
    const isForm = body instanceof URLSearchParams
    const response = await fetch(hub.url + path, {
      method: body ? 'POST' : 'GET',
      headers: {
        authorization: token,
        ...(body && !isForm ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: isForm ? body : JSON.stringify(body) } : {}),
    })
    const text = await response.text()
    assert.ok(response.ok, `${path}: ${response.status} ${text}`)
    return JSON.parse(text) as T
  }

  /** One good SET, one forged one, a poll with an acknowledgement, and a wrong token. */
  async function driveOneEvent(): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair('RS256')
    const secret = `source-secret-${randomUUID()}`
    const operator = `Bearer ${admin}`
    const { ingest_url } = await call<{ ingest_url: string }>('/v1/transmitters', {
      token: operator,
      body: {
        name: 'idp',
        issuer: 'https://idp.example.com',
        audience: hub.url,
        jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'k' }] },
        authorization_header: secret,
      },
    })
    const receiver = await call<{ client_id: string; client_secret: string }>('/v1/receivers', {
      token: operator,
      body: { name: 'gateway' },
    })
    const basic = Buffer.from(`${receiver.client_id}:${receiver.client_secret}`).toString('base64')
    const { access_token } = await call<{ access_token: string }>('/oauth/token', {
      token: `Basic ${basic}`,
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'ssf.read ssf.manage' }),
    })
    const token = `Bearer ${access_token}`
    const stream = await call<{ delivery: { endpoint_url: string } }>('/ssf/streams', {
      token,
      body: { events_requested: [REVOKED], delivery: { method: 'urn:ietf:rfc:8936' } },
    })
    const sign = async (key: typeof privateKey): Promise<string> =>
      new SignJWT({
        sub_id: { format: 'email', email: `canary-${randomUUID()}@example.com` },
        events: { [REVOKED]: {} },
      })
        .setProtectedHeader({ alg: 'RS256', typ: 'secevent+jwt', kid: 'k' })
        .setIssuer('https://idp.example.com')
        .setAudience(hub.url)
        .setIssuedAt()
        .setJti(randomUUID())
        .sign(key)
    const push = (set: string): Promise<Response> =>
      fetch(ingest_url, {
        method: 'POST',
        headers: { authorization: secret, 'content-type': 'application/secevent+jwt' },
        body: set,
      })
    const good = await sign(privateKey)
    const forged = await sign((await generateKeyPair('RS256')).privateKey)
    assert.equal((await push(good)).status, 202)
    assert.equal((await push(forged)).status, 400)
    const path = new URL(stream.delivery.endpoint_url).pathname
    const { sets } = await call<{ sets: Record<string, string> }>(path, { token, body: {} })
    const [jti = '', minted = ''] = Object.entries(sets)[0] ?? []
    await call(path, { token, body: { ack: [jti], returnImmediately: true } })
    const wrong = `fbk_op_${randomUUID()}`
    await fetch(`${hub.url}/v1/events?access_token=${wrong}`, {
      headers: { authorization: `Bearer ${wrong}` },
    })
    canaries.push(secret, receiver.client_secret, basic, access_token, good, forged, minted, wrong, 'canary-')
  }

  it('has metrics that promtool accepts, with what just happened in them', async () => {
    const response = await fetch(`${hub.managementUrl}/metrics`)
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain/)
    const metrics = await response.text()
    const promtool = existsSync(CACHED_PROMTOOL) ? CACHED_PROMTOOL : 'promtool'
    const { status, stdout, stderr, error } = spawnSync(promtool, ['check', 'metrics'], {
      input: metrics,
      encoding: 'utf8',
    })
    assert.deepEqual([error?.message, status, `${stdout}${stderr}`], [undefined, 0, ''])
    assert.match(metrics, /^firebreak_sets_total\{[^}]*outcome="accepted"[^}]*\} 1$/m)
    assert.match(metrics, /^firebreak_time_to_revoke_seconds_count\{[^}]*stage="received"[^}]*\} 1$/m)
  })

  it('has every metric that the documents name', async () => {
    const metrics = await (await fetch(`${hub.managementUrl}/metrics`)).text()
    const there = new Set([...metrics.matchAll(/^# HELP (\S+)/gm)].map((match) => match[1]))
    const guides = ['README.md', ...filesBelow('docs', '.md')].map(readText).join('\n')
    const named = [...guides.matchAll(/\bfirebreak_[a-z_]+[a-z]\b/g)].map(([name]) =>
      name.replace(/_(bucket|count|sum)$/, ''),
    )
    assert.ok(named.length >= 5)
    assert.deepEqual(
      named.filter((name) => !there.has(name) && !ELSEWHERE.includes(name)),
      [],
    )
  })

  it('serves every call that docs/api.md names, and asks each for a token but the one that describes them', async () => {
    const calls = [...readText('docs/api.md').matchAll(/`(GET|POST|PATCH|DELETE) (\/v1\/[^`]+)`/g)]
    assert.ok(calls.length > 30)
    for (const [text, method = '', path = ''] of calls) {
      const url = hub.url + path.replace(/\{\w+\}/g, () => randomUUID())
      assert.equal((await fetch(url, { method })).status, path === '/v1/openapi.json' ? 200 : 401, text)
    }
    const unknown = await fetch(`${hub.url}/v1/nothing`)
    assert.equal(unknown.status, 404)
  })

  it('says that it lives and is ready, and what should be known all the same', async () => {
    const live = await fetch(`${hub.managementUrl}/health/live`)
    assert.deepEqual([live.status, await live.json()], [200, { status: 'alive', reasons: [] }])
    const ready = await fetch(`${hub.managementUrl}/health/ready`)
    const body = (await ready.json()) as { status: string; reasons: string[] }
    assert.deepEqual([ready.status, body.status], [200, 'ready'])
    assert.equal(body.reasons.length, 1)
    assert.match(body.reasons[0] ?? '', /^FIREBREAK_MASTER_KEY is not set/)
  })

  it('logs single lines of JSON, a wide one per unit of work', () => {
    const lines = hub.stderr().trimEnd().split('\n')
    const events = lines.map(
      (line) => JSON.parse(line) as { message: string; level: string; timestamp: string },
    )
    for (const event of events) {
      assert.match(event.message, /^[a-z_]+\.[a-z_]+$/)
      assert.match(event.timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      assert.notEqual(event.level, 'error', JSON.stringify(event))
    }
    const names = new Set(events.map(({ message }) => message))
    for (const name of ['hub.started', 'set.accepted', 'set.rejected']) assert.ok(names.has(name), name)
  })

  it('drains at SIGTERM, exits 0, and has logged no SET, token, secret or subject', async () => {
    hub.signal('SIGTERM')
    assert.equal((await hub.ended()).code, 0)
    const log = hub.stderr()
    assert.match(log, /"hub\.stopped"/)
    assert.equal(canaries.length, 10)
    for (const canary of canaries) assert.ok(!log.includes(canary), `the log holds ${canary.slice(0, 24)}…`)
    // The first admin's token is shown on standard output, which is no log.
    assert.ok(hub.stdout().includes(admin))
  })
})
