import assert from 'node:assert/strict'
import { sqlRows } from '../../src/storage/database.js'
import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { waitUntil } from '../support/wait.js'
import { assertRefusal, type SeenRefusal } from './refusals/assert-refusal.js'
import { type LimitRefusal, limitRefusals } from './refusals/limit-refusals.js'
import type { Call, Refusal } from './refusals/refusal.js'
import { ssfCalls } from './refusals/ssf-refusals.js'

describe('error answers of a hub that has reached its limits', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let proxy: TcpProxy
  let hub: HubProcess
  /** Of a receiver, by its `default_subjects`. */
  const tokens = { NONE: '', ALL: '' }
  const streams = { NONE: '', ALL: '' }

  before(async () => {
    database = await createTestDatabase()
    const url = new URL(database.url)
    const targetPort = Number(url.port)
    proxy = await startTcpProxy({ targetPort: () => targetPort })
    url.port = String(proxy.port)
    hub = await createHubProcess({
      env: {
        DATABASE_URL: url.href,
        MAX_STREAMS_PER_RECEIVER: '1',
        MAX_SUBJECTS_PER_STREAM: '1',
        MIN_VERIFICATION_INTERVAL_S: '30',
      },
    })
    hub.start()
    await hub.ready()
    const admin = async <T>(path: string, body: object) =>
      JSON.parse((await send({ method: 'POST', path, body }, hub.adminToken)).text) as T
    for (const default_subjects of ['NONE', 'ALL'] as const) {
      const body = { name: default_subjects, default_subjects }
      const { id } = await admin<{ id: string }>('/v1/receivers', body)
      const scopes = ['ssf.manage']
      const { token } = await admin<{ token: string }>(`/v1/receivers/${id}/tokens`, { scopes })
      const { text } = await send({ method: 'POST', path: '/ssf/streams', body: {} }, token)
      tokens[default_subjects] = token
      streams[default_subjects] = JSON.parse(text).stream_id
    }
  })
  after(async () => {
    await hub?.remove()
    await proxy?.close()
    await database?.close()
  })

  async function send({ method, path, body }: Call, as = tokens.NONE): Promise<SeenRefusal> {
    const response = await fetch(hub.url + path, {
      method,
      headers: {
        authorization: `Bearer ${as}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

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
      if (first) assert.ok((await send(first, tokens[of])).status < 300)
      assertRefusal(await send(refusal, tokens[of]), refusal)
    })
  }

  it('answers 500 ERR_INTERNAL, which tells nothing but where the log has the reason, to every SSF call when a table is missing', async () => {
    await sqlRows(database.db, 'alter table streams rename to streams_away')
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
        await waitUntil('the log has it', () => hub.output().includes(requestId))
      }
    } finally {
      await sqlRows(database.db, 'alter table streams_away rename to streams')
    }
    await hub.ready()
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
        const as = call.path.startsWith('/v1') ? hub.adminToken : tokens.NONE
        assertRefusal(await send(call, as), refusal)
      }
    } finally {
      proxy.refuse(false)
    }
    await hub.ready()
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
    let answer = await send({ method: 'GET', path: '/ssf/streams' }, 'nonsense')
    for (let tries = 0; answer.status === 401 && tries < 2_000; tries += 1) {
      answer = await send({ method: 'GET', path: '/ssf/streams' }, 'nonsense')
    }
    for (const call of calls()) {
      assertRefusal(await send(call, 'nonsense'), {
        ...call,
        title: `${call.method} ${call.path}`,
        status: 429,
        code: 'ERR_TOO_MANY_REQUESTS',
        retryAfterS: [1, 60],
      })
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
