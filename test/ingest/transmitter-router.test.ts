import assert from 'node:assert/strict'
import { Forbidden } from '../../src/auth/bearer.js'
import { createApp } from '../../src/http/app.js'
import { createHttpServer } from '../../src/http/server.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import { transmitterRouter } from '../../src/ingest/transmitter-router.js'
import type { TransmitterService } from '../../src/ingest/transmitter-service.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { TRANSMITTER_ID, transmitterOf } from './ingest-fixture.js'

type Body = Record<string, unknown>

describe('ingest: transmitters in requests and answers', () => {
  let stop: (() => Promise<void>) | undefined
  /** What the service was asked, and by whom. */
  let asked: unknown[][]
  afterEach(async () => {
    await stop?.()
    stop = undefined
  })

  /** Serves the routes over a service that finds `rows`, for an operator with these permissions. */
  async function start(rows: Transmitter[] = [transmitterOf()], permissions?: readonly string[]) {
    asked = []
    const first = async (...args: unknown[]) => {
      asked.push(args)
      return rows[0] ?? assert.fail('no rows')
    }
    const nothing = async (...args: unknown[]) => void asked.push(args)
    const transmitters: TransmitterService = {
      create: (...args) => first('create', ...args),
      get: (...args) => first('get', ...args),
      update: (...args) => first('update', ...args),
      remove: (...args) => nothing('remove', ...args),
      verify: (...args) => nothing('verify', ...args),
      async list(page) {
        asked.push(['list', page])
        return rows.filter(({ name }) => name > (page.afterName ?? '')).slice(0, page.limit)
      },
      streamsOf: async () => new Map(),
    }
    const router = transmitterRouter({
      transmitters,
      issuer: 'https://hub.example',
      authorize: {
        operator: (permission) => (_req, res, next) => {
          res.locals.operator = { id: 'o', name: 'ann', role: 'operator' }
          next(!permissions || permissions.includes(permission) ? undefined : new Forbidden('Not yours.'))
        },
      },
    })
    const app = createApp({
      logger: silentLogger,
      mount: (root) => void root.use('/v1/transmitters', router),
    })
    const server = createHttpServer({ host: '127.0.0.1', port: 0, app, logger: silentLogger, drainMs: 100 })
    await server.start()
    stop = () => server.stop()
    return async (method: string, path = '', body?: unknown): Promise<{ status: number; body: Body }> => {
      const answer = await fetch(`http://127.0.0.1:${server.port()}/v1/transmitters${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      return { status: answer.status, body: text ? (JSON.parse(text) as Body) : {} }
    }
  }

  const RECEIVER = '0193a6f0-0000-7000-8000-00000000000b'
  const JWKS = { keys: [{ kty: 'RSA' }] }
  const CHANGES: [sent: Body, change: object][] = [
    [{ name: 'b' }, { name: 'b' }],
    [{ jwks_uri: 'https://idp.example/k' }, { jwksUri: 'https://idp.example/k' }],
    [{ jwks: JWKS }, { jwks: JWKS }],
    [{ discover: true }, { discover: true }],
    [{ discover: 'https://idp.example' }, { discover: 'https://idp.example' }],
    [{ audience: 'a' }, { audience: ['a'] }],
    [{ audience: ['a', 'b'] }, { audience: ['a', 'b'] }],
    [{ algorithms: ['ES256', 'RS256'] }, { algorithms: ['ES256', 'RS256'] }],
    [{ authorization_header: 'Bearer x' }, { authorizationHeader: 'Bearer x' }],
    [{ authorization_header: null }, { authorizationHeader: null }],
    [{ tolerances: {} }, { tolerances: {} }],
    [
      { tolerances: { allow_sub: false, future_skew_s: 0 } },
      { tolerances: { allowSub: false, futureSkewS: 0 } },
    ],
    [{ budget_per_s: 1 }, { budgetPerS: 1 }],
    [{ urgent_types: ['urn:a', 'urn:b'] }, { urgentTypes: ['urn:a', 'urn:b'] }],
    [{ urgent_types: [] }, { urgentTypes: [] }],
    [{ enabled: false }, { enabled: false }],
    [{ receiver_id: RECEIVER }, { receiverId: RECEIVER }],
    [{ receiver_id: null }, { receiverId: null }],
    [{ delivery: { method: 'push' } }, { stream: null }],
    [
      { delivery: { method: 'poll', credentials: { token: 't' } } },
      { stream: { method: 'poll', credentials: { token: 't' } } },
    ],
  ]

  it('changes what is sent, and nothing else', async () => {
    const call = await start()
    for (const [sent] of CHANGES) assert.equal((await call('PATCH', `/${TRANSMITTER_ID}`, sent)).status, 200)
    assert.deepEqual(
      asked,
      CHANGES.map(([, change]) => ['update', TRANSMITTER_ID, change, 'operator:ann']),
    )
  })

  it('registers with the same members, and an issuer', async () => {
    const call = await start()
    for (const [sent] of CHANGES) assert.equal((await call('POST', '', { name: 'b', ...sent })).status, 201)
    assert.equal((await call('POST', '', { name: 'b', issuer: 'urn:idp' })).status, 201)
    const inputs = [
      ...CHANGES.map(([, change]) => ({ name: 'b', ...change })),
      { name: 'b', issuer: 'urn:idp' },
    ]
    assert.deepEqual(
      asked,
      inputs.map((input) => ['create', input, 'operator:ann']),
    )
  })

  const many = <T>(count: number, item: (index: number) => T) =>
    Array.from({ length: count }, (_, index) => item(index))
  const LIMITS: [member: string, min: number, max: number, value: (size: number) => unknown][] = [
    ['name', 1, 100, (size) => 'a'.repeat(size)],
    ['issuer', 1, 512, (size) => 'a'.repeat(size)],
    ['audience', 1, 512, (size) => 'a'.repeat(size)],
    ['audience', 1, 512, (size) => ['a'.repeat(size)]],
    ['audience', 1, 20, (size) => many(size, String)],
    ['jwks_uri', 1, 2048, (size) => 'a'.repeat(size)],
    ['discover', 1, 2048, (size) => 'a'.repeat(size)],
    ['jwks', 1, 64, (size) => ({ keys: many(size, () => ({})) })],
    ['authorization_header', 1, 4096, (size) => 'a'.repeat(size)],
    ['tolerances', 0, 3600, (size) => ({ future_skew_s: size })],
    ['budget_per_s', 1, 1_000_000, (size) => size],
    ['urgent_types', 1, 512, (size) => ['a'.repeat(size)]],
    ['urgent_types', 1, 100, (size) => (size < 1 ? 'none' : many(size, String))],
  ]
  for (const [member, min, max, value] of LIMITS) {
    it(`takes ${member} from ${min} to ${max}, as ${JSON.stringify(value(1))}`, async () => {
      const call = await start()
      const send = async (size: number) =>
        (await call('POST', '', { name: 'b', [member]: value(size) })).status
      assert.deepEqual([await send(min), await send(max)], [201, 201])
      assert.deepEqual([await send(min - 1 < 0 ? -1 : min - 1), await send(max + 1)], [400, 400])
    })
  }

  it('takes no control characters in names, and no value twice in a list', async () => {
    const call = await start()
    for (const text of ['a\u0001b', 'a\nb', 'a\u007fb']) {
      for (const member of ['name', 'issuer', 'audience', 'authorization_header']) {
        assert.equal((await call('POST', '', { name: 'b', [member]: text })).status, 400, member)
      }
    }
    for (const lists of [
      { audience: ['a', 'a'] },
      { algorithms: ['RS256', 'RS256'] },
      { discover: false },
      { urgent_types: ['a', 'a'] },
    ]) {
      assert.equal((await call('POST', '', { name: 'b', ...lists })).status, 400)
    }
    assert.equal((await call('POST', '', { name: 'Größe ☂', issuer: 'a b' })).status, 201)
    assert.equal((await call('PATCH', `/${TRANSMITTER_ID}`, { receiver_id: 'x' })).status, 400)
  })

  it('shows what is set, and null or nothing for what is not', async () => {
    const bare = {
      id: TRANSMITTER_ID,
      name: 'idp',
      issuer: 'https://idp.example',
      audience: ['https://hub.example'],
      algorithms: ['RS256'],
      has_authorization_header: false,
      delivery: { method: 'push' },
      tolerances: {},
      budget_per_s: 100_000,
      urgent_types: [],
      enabled: true,
      receiver_id: null,
      version: 1,
      ingest_url: `https://hub.example/ingest/${TRANSMITTER_ID}`,
      created_at: '1970-01-01T00:00:00.000Z',
      updated_at: '1970-01-01T00:00:00.000Z',
    }
    const { jwks: _jwks, ...plain } = transmitterOf()
    const rows: [row: Transmitter, body: Body][] = [
      [plain, bare],
      [
        { ...plain, jwks: JWKS },
        { ...bare, jwks: JWKS },
      ],
      [
        { ...plain, jwksUri: 'https://idp.example/k', discover: 'https://idp.example/m' },
        { ...bare, jwks_uri: 'https://idp.example/k', discover: 'https://idp.example/m' },
      ],
      [
        { ...plain, receiverId: RECEIVER, authorizationHash: Buffer.from('h') },
        { ...bare, receiver_id: RECEIVER, has_authorization_header: true },
      ],
      [
        { ...plain, urgentTypes: ['urn:b', 'urn:a'] },
        { ...bare, urgent_types: ['urn:b', 'urn:a'] },
      ],
      [
        { ...plain, tolerances: { allowSub: true, allowExp: false, futureSkewS: 0 } },
        { ...bare, tolerances: { allow_sub: true, allow_exp: false, future_skew_s: 0 } },
      ],
    ]
    for (const [row, expected] of rows) {
      const call = await start([row])
      assert.deepEqual(await call('GET', `/${TRANSMITTER_ID}`), { status: 200, body: expected })
      await stop?.()
    }
  })

  it('lists by name, in pages', async () => {
    const rows = ['a', 'b', 'c'].map((name) => transmitterOf({ name }))
    const call = await start(rows)
    const namesOf = ({ body }: { body: Body }) => (body.items as Body[]).map(({ name }) => name)
    const one = await call('GET', '?limit=2')
    const two = await call('GET', `?limit=2&cursor=${one.body.next}`)
    assert.deepEqual([namesOf(one), namesOf(two), two.body.next], [['a', 'b'], ['c'], null])
    assert.deepEqual(asked, [
      ['list', { limit: 3 }],
      ['list', { limit: 3, afterName: 'b' }],
    ])
    assert.equal((await call('GET', '?limit=0')).status, 400)
  })

  it('lets each permission do its part, and no other', async () => {
    const ROUTES: [method: string, path: string, body: unknown, status: number, permission: string][] = [
      ['GET', '', undefined, 200, 'read'],
      ['GET', `/${TRANSMITTER_ID}`, undefined, 200, 'read'],
      ['POST', '', { name: 'b' }, 201, 'transmitters.manage'],
      ['PATCH', `/${TRANSMITTER_ID}`, { enabled: true }, 200, 'transmitters.manage'],
      ['DELETE', `/${TRANSMITTER_ID}`, undefined, 204, 'transmitters.manage'],
      ['POST', `/${TRANSMITTER_ID}/verify`, undefined, 202, 'transmitters.manage'],
    ]
    // Whoever may do anything may read.
    for (const permissions of [['read'], ['read', 'transmitters.manage']]) {
      const call = await start(undefined, permissions)
      for (const [method, path, body, status, needed] of ROUTES) {
        const expected = permissions.includes(needed) ? status : 403
        assert.equal((await call(method, path, body)).status, expected, `${permissions}: ${method} ${path}`)
      }
      await stop?.()
    }
  })

  it('knows no transmitter by what is no id', async () => {
    const call = await start()
    for (const [method, path] of [
      ['GET', '/x'],
      ['PATCH', '/x'],
      ['DELETE', '/x'],
      ['POST', '/x/verify'],
    ] as const) {
      const { status, body } = await call(method, path, method === 'PATCH' ? { enabled: true } : undefined)
      assert.equal(status, 404, method)
      assert.match(String(body.message), /transmitter/)
    }
    assert.deepEqual(asked, [])
  })
})
