import { createHubProcess, type HubProcess } from '../support/hub-process.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js'
import { assertRefusal, type SeenRefusal } from './refusals/assert-refusal.js'
import type { Call, Refusal } from './refusals/refusal.js'

const subject = (name: string) => ({ format: 'email', email: `${name}@example.com` })

describe('error answers of a hub that has reached its limits', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let proxy: TcpProxy
  let hub: HubProcess
  let token: string
  let stream: string

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
    const { id } = await admin<{ id: string }>('/v1/receivers', { name: 'gateway', default_subjects: 'NONE' })
    const scopes = ['ssf.manage']
    token = (await admin<{ token: string }>(`/v1/receivers/${id}/tokens`, { scopes })).token
    stream = JSON.parse((await send({ method: 'POST', path: '/ssf/streams', body: {} })).text).stream_id
  })
  after(async () => {
    await hub?.remove()
    await proxy?.close()
    await database?.close()
  })

  async function send({ method, path, body }: Call, as = token): Promise<SeenRefusal> {
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
    { method: 'GET', path: '/ssf/streams' },
    { method: 'POST', path: '/ssf/streams', body: {} },
    { method: 'PATCH', path: '/ssf/streams', body: { stream_id: stream } },
    { method: 'PUT', path: '/ssf/streams', body: { stream_id: stream } },
    { method: 'DELETE', path: `/ssf/streams?stream_id=${stream}` },
    { method: 'GET', path: `/ssf/status?stream_id=${stream}` },
    { method: 'POST', path: '/ssf/status', body: { stream_id: stream, status: 'paused' } },
    { method: 'POST', path: '/ssf/subjects/add', body: { stream_id: stream, subject: subject('x') } },
    { method: 'POST', path: '/ssf/subjects/remove', body: { stream_id: stream, subject: subject('x') } },
    { method: 'POST', path: '/ssf/verify', body: { stream_id: stream } },
    { method: 'POST', path: `/ssf/poll/${stream}`, body: { returnImmediately: true } },
    { method: 'GET', path: '/v1/receivers' },
    { method: 'GET', path: '/v1/streams' },
  ]

  async function refuses(refusal: Refusal): Promise<void> {
    assertRefusal(await send(refusal), refusal)
  }

  it('answers 403 ERR_STREAM_LIMIT to a stream more than a receiver may hold', async () => {
    await refuses({
      title: 'a stream too many',
      method: 'POST',
      path: '/ssf/streams',
      body: {},
      status: 403,
      code: 'ERR_STREAM_LIMIT',
      names: /hold 1 streams/,
    })
  })

  it('answers 429 ERR_VERIFICATION_TOO_SOON with Retry-After within the interval (T-76)', async () => {
    const verify: Call = { method: 'POST', path: '/ssf/verify', body: { stream_id: stream } }
    await send(verify)
    await refuses({
      ...verify,
      title: 'a verification too soon',
      status: 429,
      code: 'ERR_VERIFICATION_TOO_SOON',
      retryAfterS: [1, 30],
      names: /every 30 s/,
    })
  })

  it('answers 429 ERR_SUBJECT_LIMIT with Retry-After to a subject too many', async () => {
    const add = (name: string): Call => ({
      method: 'POST',
      path: '/ssf/subjects/add',
      body: { stream_id: stream, subject: subject(name) },
    })
    await send(add('ann'))
    await refuses({
      ...add('bob'),
      title: 'a subject too many',
      status: 429,
      code: 'ERR_SUBJECT_LIMIT',
      retryAfterS: [60, 60],
      names: /subjects/,
    })
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
        const as = call.path.startsWith('/v1') ? hub.adminToken : token
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
