import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Express } from 'express'
import request, { type Response } from 'supertest'
import { type Permission, ROLES, rolesAllowed } from '../../src/auth/roles.js'
import { type ApiOperation, apiOperations } from '../support/api-operations.js'
import { AWAY, BROKEN, BUSY, createStubHub, RECEIVER, UNSCOPED } from '../support/stub-hub.js'

const ID = '00000000-0000-4000-8000-000000000000'
const CUT_OFF = '{"name": "x'
/** No values of whatever a query may be filtered by. */
const BAD_QUERY: Readonly<Record<string, readonly string[]>> = {
  limit: ['0', '1001', 'x', ''],
  cursor: ['nonsense', 'e30', `${'x'.repeat(1001)}`],
  from: ['yesterday', '', '2026-13-01T00:00:00Z'],
  to: ['yesterday', '', '2026-13-01T00:00:00Z'],
  state: ['odd', ''],
  status: ['odd', ''],
  stage: ['odd', ''],
  kind: ['odd', ''],
  group_by: ['colour', 'stream,stream', ''],
  stream_id: ['x', ''],
  receiver_id: ['x', ''],
  txn: ['', '%00', 'x'.repeat(1001)],
  type: ['', '%00', 'x'.repeat(1001)],
  actor: ['', '%00'],
  action: ['', '%00'],
  target: ['', '%00'],
  code: ['', '%00', 'x'.repeat(1001)],
}
/** What every route under /v1 and /ssf may answer because of who calls, or what it sends, before anything is looked for. */
const CODES = [
  'ERR_INVALID_REQUEST',
  'ERR_MALFORMED_CREDENTIALS',
  'ERR_UNAUTHENTICATED',
  'ERR_INVALID_TOKEN',
  'ERR_FORBIDDEN',
  'ERR_TOO_LARGE',
  'ERR_TOO_MANY_REQUESTS',
  'ERR_INTERNAL',
  'ERR_UNAVAILABLE',
]

const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true })
addFormats.default(ajv)

describe('error answers of /v1 and /ssf', () => {
  let app: Express
  const seen = new Set<string>()
  before(async () => {
    app = await createStubHub()
  })

  const operations = apiOperations().filter(({ path, permission, scope }) => {
    return /^\/(v1|ssf)\//.test(path) && (permission ?? scope) !== undefined
  })

  interface Ask {
    readonly token?: string
    readonly authorization?: string
    /** In place of the operation's own, with ids. */
    readonly path?: string
    readonly query?: string
    readonly body?: string | Buffer
    readonly headers?: Readonly<Record<string, string>>
  }

  async function refused(operation: ApiOperation, ask: Ask, expected: string): Promise<Response> {
    const path = (ask.path ?? operation.path).replace(/\{\w+\}/g, ID) + (ask.query ? `?${ask.query}` : '')
    const call = request(app)[operation.method](path).set('Content-Type', 'application/json')
    const authorization = ask.authorization ?? (ask.token && `Bearer ${ask.token}`)
    if (authorization) call.set('Authorization', authorization)
    call.set(ask.headers ?? {})
    const res = await (ask.body === undefined
      ? call
      : call.serialize((body) => body as unknown as string).send(ask.body))
    const [status, code] = expected.split(' ')
    assert.equal(`${res.status} ${res.body.code}`, expected, `${path}: ${res.text}`)
    assert.deepEqual(Object.keys(res.body), ['code', 'message'])
    assert.equal(res.headers['cache-control'], 'no-store')
    assert.match(res.headers['content-type'] ?? '', /^application\/json/)
    assert.match(res.headers['x-request-id'] ?? '', /^[0-9a-f-]{36}$/)
    seen.add(`${operation.id} ${status} ${code}`)
    return res
  }

  for (const operation of operations) {
    const { permission, scope } = operation
    const token = permission === undefined ? RECEIVER : 'admin'
    const sent = operation.body && { body: CUT_OFF }

    describe(`${operation.method.toUpperCase()} ${operation.path}`, () => {
      it('asks who calls before it reads anything', async () => {
        const none = await refused(operation, { ...sent }, '401 ERR_UNAUTHENTICATED')
        assert.equal(none.headers['www-authenticate'], 'Bearer realm="firebreak"')
        const unknown = await refused(operation, { ...sent, token: 'nonsense' }, '401 ERR_INVALID_TOKEN')
        assert.match(unknown.headers['www-authenticate'] ?? '', /^Bearer .*error="invalid_token"/)
        const malformed = await refused(
          operation,
          { ...sent, authorization: 'Bearer a b' },
          '400 ERR_MALFORMED_CREDENTIALS',
        )
        assert.match(malformed.headers['www-authenticate'] ?? '', /error="invalid_request"/)
        await refused(
          operation,
          { ...sent, token, query: `access_token=${token}` },
          '400 ERR_MALFORMED_CREDENTIALS',
        )
        const otherKind = permission === undefined ? 'admin' : scope === undefined ? RECEIVER : undefined
        if (otherKind) await refused(operation, { ...sent, token: otherKind }, '401 ERR_INVALID_TOKEN')
      })

      it('asks whether the caller may', async () => {
        const weak = [
          ...(permission === undefined
            ? []
            : ROLES.filter((role) => !rolesAllowed(permission as Permission).includes(role))),
          ...(scope === undefined ? [] : [UNSCOPED]),
        ]
        for (const caller of weak) {
          const res = await refused(operation, { ...sent, token: caller }, '403 ERR_FORBIDDEN')
          const wanted = caller === UNSCOPED ? `, scope="${scope}"` : ''
          const challenge = `Bearer realm="firebreak", error="insufficient_scope"${wanted}`
          assert.equal(res.headers['www-authenticate'], challenge)
          if (wanted) assert.ok(res.body.message.includes(scope))
        }
      })

      it('says when to come back, and nothing of what went wrong inside', async () => {
        const busy = await refused(operation, { ...sent, token: BUSY }, '429 ERR_TOO_MANY_REQUESTS')
        assert.equal(busy.headers['retry-after'], '3')
        const away = await refused(operation, { ...sent, token: AWAY }, '503 ERR_UNAVAILABLE')
        assert.equal(away.headers['retry-after'], '2')
        const broken = await refused(operation, { ...sent, token: BROKEN }, '500 ERR_INTERNAL')
        assert.doesNotMatch(broken.text, /hunter2|Error:|\.ts|\.js/)
        assert.ok(broken.body.message.includes(broken.headers['x-request-id']))
        for (const res of [busy, away, broken]) assert.equal(res.headers['www-authenticate'], undefined)
      })

      if (operation.body) {
        it('refuses bodies that are none, too large or not as told', async () => {
          for (const [body, headers] of badBodies(operation)) {
            await refused(operation, { token, body, ...(headers && { headers }) }, '400 ERR_INVALID_REQUEST')
          }
          await refused(operation, { token, body: `{"x":"${'x'.repeat(2_200_000)}"}` }, '413 ERR_TOO_LARGE')
          // SSF ignores members that nobody defined (SSF 1.0 §4.2.3).
          if (operation.path.startsWith('/ssf/')) return
          const stranger = JSON.stringify({ no_such_member: 1 })
          // Read as JSON whatever its type says.
          for (const type of ['application/json', 'text/plain']) {
            const ask = { token, body: stranger, headers: { 'Content-Type': type } }
            const res = await refused(operation, ask, '400 ERR_INVALID_REQUEST')
            assert.match(res.body.message, /no_such_member is not known here/)
          }
        })

        it('names each member of a wrong type', async () => {
          const properties = (operation.body as { properties: Record<string, object> }).properties
          for (const [name, schema] of Object.entries(properties)) {
            const wrong = [{}, [], 5.5, true, ''].find((value) => !ajv.validate(schema, value))
            const ask = { token, body: JSON.stringify({ [name]: wrong }) }
            const res = await refused(operation, ask, '400 ERR_INVALID_REQUEST')
            assert.match(res.body.message, new RegExp(`\\b${name}\\b`), JSON.stringify(wrong))
          }
        })
      }

      const parameters = Object.keys(operation.query)
      if (parameters.length > 0) {
        it('refuses queries that it does not know, or with values that are none', async () => {
          if (operation.path.startsWith('/ssf/')) {
            for (const query of ['stream_id=', `stream_id=${ID}&stream_id=${ID}`]) {
              await refused(operation, { token, query }, '400 ERR_INVALID_REQUEST')
            }
            return
          }
          for (const name of parameters) {
            for (const value of BAD_QUERY[name] ?? assert.fail(`${name}: no bad value of it is known`)) {
              await refused(operation, { token, query: `${name}=${value}` }, '400 ERR_INVALID_REQUEST')
            }
          }
          for (const query of ['colour=red', 'limit=1&limit=2']) {
            await refused(operation, { token, query }, '400 ERR_INVALID_REQUEST')
          }
        })
      }

      if (operation.path.includes('{')) {
        it('refuses a path that cannot be decoded', async () => {
          const path = operation.path.replace(/\{\w+\}/, '%E0%A4%A')
          await refused(operation, { token, path }, '400 ERR_INVALID_REQUEST')
        })
      }
    })
  }

  // mocha runs these after the suites above only as a suite of their own.
  describe('as a whole', () => {
    it('are 404 where nothing is, whoever asks', async () => {
      for (const token of [undefined, 'admin', RECEIVER]) {
        for (const [method, path] of [
          ['get', '/v1/nothing'],
          ['post', '/v1/log-keys/x'],
          ['get', '/v1/Receivers'],
        ] as const) {
          const call = request(app)[method](path)
          const res = await (token ? call.auth(token, { type: 'bearer' }) : call)
          assert.equal(`${res.status} ${res.body.code}`, '404 ERR_NOT_FOUND', path)
        }
      }
    })

    it('are 405 with the methods that a path takes, for others', async () => {
      const taken = new Map<string, string[]>()
      for (const { path, method } of apiOperations()) taken.set(path, [...(taken.get(path) ?? []), method])
      for (const [path, methods] of taken) {
        if (!path.startsWith('/v1/')) continue
        const method = (['get', 'put', 'patch', 'delete', 'post'] as const).find(
          (name) => !methods.includes(name),
        )
        const call = request(app)[method ?? assert.fail(path)](path.replace(/\{\w+\}/g, ID))
        const res = await call.auth('admin', { type: 'bearer' })
        assert.equal(`${res.status} ${res.body.code}`, '405 ERR_METHOD_NOT_ALLOWED', `${method} ${path}`)
        assert.equal(res.headers.allow, methods.join(', ').toUpperCase())
      }
    })

    it('are all that the document tells of, each seen above', () => {
      const told = operations.flatMap(({ id, errors }) =>
        errors.filter((error) => CODES.some((code) => error.endsWith(code))).map((error) => `${id} ${error}`),
      )
      assert.ok(operations.length > 35 && told.length > 250)
      assert.deepEqual(
        told.filter((error) => !seen.has(error)),
        [],
      )
    })
  })
})

function badBodies(operation: ApiOperation): [body: string | Buffer, headers?: Record<string, string>][] {
  const nested = `${'{"x":'.repeat(40)}1${'}'.repeat(40)}`
  return [
    [CUT_OFF],
    ['[]'],
    ['"text"'],
    ['null'],
    ['{"a":1}{"b":2}'],
    ['{"name":"a\\u0000b"}'],
    ['{"a\\ud800b":1}'],
    [nested],
    [gzipSync('{}'), { 'Content-Encoding': 'gzip' }],
    ['{}', { 'Content-Type': 'application/json; charset=latin1' }],
    ...(operation.bodyRequired ? ([['']] as [string][]) : []),
    // A stream asked for with no word is one to poll (SSF 1.0 §8.1.1.1).
    ...(operation.bodyRequired && operation.id !== 'createStream' ? ([['{}']] as [string][]) : []),
  ]
}
