import assert from 'node:assert/strict'
import { sqlRows } from '../../src/storage/database.js'
import { hubApi } from '../support/hub-api.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { startTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'
import { assertRefusal, type SeenRefusal } from './refusals/assert-refusal.js'
import { type LimitRefusal, limitRefusals } from './refusals/limit-refusals.js'
import type { Call, Refusal } from './refusals/refusal.js'
import { ssfCalls } from './refusals/ssf-refusals.js'

/** How many ask at once, at each hub. */
const CROWD = 4

describe('error answers of two hubs behind one address that have reached their limits', function () {
  this.timeout(120_000)
  let proxy: TcpProxy
  let hubs: TwoHubs
  /** Of a receiver, by its `default_subjects`. */
  const tokens = { NONE: '', ALL: '' }
  const streams = { NONE: '', ALL: '' }

  before(async () => {
    let databasePort = 0
    proxy = await startTcpProxy({ targetPort: () => databasePort })
    hubs = await startTwoHubs({
      env: {
        MAX_STREAMS_PER_RECEIVER: '1',
        MAX_SUBJECTS_PER_STREAM: '1',
        MIN_VERIFICATION_INTERVAL_S: '30',
      },
      reach(databaseUrl) {
        const url = new URL(databaseUrl)
        databasePort = Number(url.port)
        url.port = String(proxy.port)
        return url.href
      },
    })
    for (const default_subjects of ['NONE', 'ALL'] as const) {
      const token = await addReceiver({ name: default_subjects, default_subjects })
      tokens[default_subjects] = token
      streams[default_subjects] = await addStream(token)
    }
  })
  after(async () => {
    await hubs?.close()
    await proxy?.close()
  })

  /** @returns its token */
  async function addReceiver(body: object): Promise<string> {
    const admin = hubApi(() => hubs.url, hubs.adminToken)
    const { id } = await admin.call<{ id: string }>('POST', '/v1/receivers', body)
    const scopes = ['ssf.manage']
    return (await admin.call<{ token: string }>('POST', `/v1/receivers/${id}/tokens`, { scopes })).token
  }

  async function addStream(token: string): Promise<string> {
    const { text } = await send({ method: 'POST', path: '/ssf/streams', body: {} }, token)
    return JSON.parse(text).stream_id
  }

  async function send({ method, path, body }: Call, as = tokens.NONE, base = hubs.url): Promise<SeenRefusal> {
    const response = await fetch(base + path, {
      method,
      headers: {
        authorization: `Bearer ${as}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  const output = () => hubs.processes.map((hub) => hub.output()).join('')
  const ready = () => Promise.all(hubs.processes.map((hub) => hub.ready()))

  const calls = (): Call[] => [
    ...ssfCalls({ stream: streams.NONE }),
    { method: 'GET', path: '/v1/receivers' },
    { method: 'GET', path: '/v1/streams' },
  ]

  async function refuses(refusal: Refusal): Promise<void> {
    assertRefusal(await send(refusal), refusal)
  }

  // The table needs ids that only `before` knows; its titles do not.
  for (const [index, { title, status, code }] of limitRefusals({ ALL: 'a', NONE: 'b' }).entries()) {
    it(`answers ${status} ${code} to ${title}`, async () => {
      const { first, of, ...refusal } = limitRefusals(streams)[index] as LimitRefusal
      const [one, other] = hubs.directUrls
      if (first) assert.ok((await send(first, tokens[of], one)).status < 300)
      for (const base of [other, one, hubs.url]) {
        assertRefusal(await send(refusal, tokens[of], base), refusal)
      }
    })
  }

  /** So many calls at each of both at the same time. @returns their status, sorted */
  async function crowd(token: string, calls: readonly Call[]): Promise<number[]> {
    const answers = await Promise.all(
      calls.map((call, index) => send(call, token, hubs.directUrls[index % hubs.directUrls.length])),
    )
    return answers.map(({ status }) => status).sort()
  }
  const times = (call: (index: number) => Call) =>
    Array.from({ length: hubs.directUrls.length * CROWD }, (_, index) => call(index))
  const refused = (status: number) => Array(hubs.directUrls.length * CROWD - 1).fill(status)

  it('give one stream, one verification and one subject to a receiver that asks both at the same time (T-76)', async () => {
    const token = await addReceiver({ name: 'in a hurry', default_subjects: 'NONE' })
    const create: Call = { method: 'POST', path: '/ssf/streams', body: {} }
    assert.deepEqual(
      await crowd(
        token,
        times(() => create),
      ),
      [201, ...refused(403)],
    )
    const { text } = await send({ method: 'GET', path: '/ssf/streams' }, token)
    const [{ stream_id }] = JSON.parse(text)
    const verify: Call = { method: 'POST', path: '/ssf/verify', body: { stream_id } }
    assert.deepEqual(
      await crowd(
        token,
        times(() => verify),
      ),
      [204, ...refused(429)],
    )
    const add = (index: number): Call => ({
      method: 'POST',
      path: '/ssf/subjects/add',
      body: { stream_id, subject: { format: 'opaque', id: String(index) } },
    })
    assert.deepEqual(await crowd(token, times(add)), [200, ...refused(429)])
  })

  it('answers 500 ERR_INTERNAL, which tells nothing but where the log has the reason, to every SSF call when a table is missing', async () => {
    await sqlRows(hubs.db, 'alter table streams rename to streams_away')
    try {
      for (const call of ssfCalls({ stream: streams.NONE })) {
        const answer = await send(call)
        assertRefusal(answer, {
          ...call,
          title: `${call.method} ${call.path}`,
          status: 500,
          code: 'ERR_INTERNAL',
        })
        const requestId = answer.headers.get('x-request-id') ?? ''
        assert.ok(answer.text.includes(requestId))
        assert.doesNotMatch(answer.text, /streams|relation|42P01|\.[jt]s\b/)
        await waitUntil('the log has it', () => output().includes(requestId))
      }
    } finally {
      await sqlRows(hubs.db, 'alter table streams_away rename to streams')
    }
    await ready()
  })

  it('answers 503 ERR_UNAVAILABLE with Retry-After to every call while the database is away, and goes on after', async () => {
    proxy.refuse(true)
    proxy.cut()
    try {
      for (const call of calls()) {
        const refusal: Refusal = {
          ...call,
          title: `${call.method} ${call.path}`,
          status: 503,
          code: 'ERR_UNAVAILABLE',
          retryAfterS: [1, 60],
        }
        const as = call.path.startsWith('/v1') ? hubs.adminToken : tokens.NONE
        assertRefusal(await send(call, as), refusal)
      }
    } finally {
      proxy.refuse(false)
    }
    await ready()
    await refuses({
      title: 'a stream too many, still',
      method: 'POST',
      path: '/ssf/streams',
      body: {},
      status: 403,
      code: 'ERR_STREAM_LIMIT',
    })
  })

  it('answers 429 ERR_TOO_MANY_REQUESTS with Retry-After to an address whose tokens fail too often', async () => {
    // Past the door, which gives each request an address of its own.
    for (const base of hubs.directUrls) {
      let answer: SeenRefusal
      let tries = 0
      do {
        answer = await send({ method: 'GET', path: '/ssf/streams' }, 'nonsense', base)
        tries += 1
      } while (answer.status === 401 && tries < 2_000)
      for (const call of calls()) {
        assertRefusal(await send(call, 'nonsense', base), {
          ...call,
          title: `${call.method} ${call.path}`,
          status: 429,
          code: 'ERR_TOO_MANY_REQUESTS',
          retryAfterS: [1, 60],
        })
      }
    }
    // Whoever has a good token gets on.
    await refuses({
      title: 'a stream too many, with a good token',
      method: 'POST',
      path: '/ssf/streams',
      body: {},
      status: 403,
      code: 'ERR_STREAM_LIMIT',
    })
  })
})
