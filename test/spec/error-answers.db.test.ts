import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { sqlRows } from '../../src/storage/database.js'
import { apiOperations } from '../support/api-operations.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { assertRefusal } from './refusals/assert-refusal.js'
import { limitRefusals } from './refusals/limit-refusals.js'
import { operatorRefusals } from './refusals/operator-refusals.js'
import type { Call, Ids, Refusal, Token } from './refusals/refusal.js'
import { ssfCalls, ssfRefusals } from './refusals/ssf-refusals.js'

describe('error answers of the SSF endpoints, the poll endpoint, /v1/receivers and /v1/streams', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let ids: Ids
  const tokens = new Map<Token, string>([['nonsense', 'nonsense']])

  before(async () => {
    hubs = await sharedTwoHubs()
    tokens.set('admin', hubs.adminToken)
    const name = randomUUID()
    const { id: receiver } = await ask<{ id: string }>('POST', '/v1/receivers', 'admin', { name })
    for (const [token, scope] of [
      ['manage', 'ssf.manage'],
      ['read', 'ssf.read'],
      ['unscoped', 'ssf.read'],
    ] as const) {
      const path = `/v1/receivers/${receiver}/tokens`
      const made = await ask<{ id: string; token: string }>('POST', path, 'admin', { scopes: [scope] })
      tokens.set(token, made.token)
      // Only other issuers give such tokens out.
      if (token === 'unscoped') {
        await sqlRows(hubs.db, "update receiver_tokens set scopes = '{}' where id = ?", [made.id])
      }
    }
    const viewer = { name: randomUUID(), role: 'viewer' }
    tokens.set('viewer', (await ask<{ token: string }>('POST', '/v1/operators', 'admin', viewer)).token)
    const add = async (body: object) =>
      (await ask<{ stream_id: string }>('POST', '/ssf/streams', 'manage', body)).stream_id
    const addReceiver = async (body: object) =>
      (await ask<{ id: string }>('POST', '/v1/receivers', 'admin', { name: randomUUID(), ...body })).id
    ids = {
      name,
      receiver,
      stream: await add({}),
      held: await add({}),
      push: await add({
        delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: 'https://127.0.0.1:8443/x' },
      }),
      profiled: await addReceiver({ profile: 'caep-interop' }),
      disabled: await addReceiver({}),
    }
    await ask('POST', `/v1/streams/${ids.held}/pause`, 'admin', {})
    await ask('POST', `/v1/receivers/${ids.disabled}/disable`, 'admin')
  })

  async function send({ method, path, token = 'none', body, headers }: Call) {
    const bearer = tokens.get(token)
    const response = await fetch(hubs.url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  async function ask<T>(method: string, path: string, token: Token, body?: object): Promise<T> {
    const { status, text } = await send({ method, path, token, ...(body && { body }) })
    assert.ok(status < 300, `${method} ${path} answered ${status}: ${text}`)
    return JSON.parse(text) as T
  }

  async function check(refusal: Refusal): Promise<void> {
    assertRefusal(await send(refusal), refusal)
  }

  // The table needs ids that only `before` knows; its titles do not.
  const none: Ids = {
    stream: '11111111-0000-4000-8000-000000000000',
    held: '22222222-0000-4000-8000-000000000000',
    push: '33333333-0000-4000-8000-000000000000',
    receiver: '44444444-0000-4000-8000-000000000000',
    profiled: '55555555-0000-4000-8000-000000000000',
    disabled: '66666666-0000-4000-8000-000000000000',
    name: 'a',
  }
  for (const [surface, refusals] of [
    ['the SSF and poll endpoints', ssfRefusals],
    ['/v1/receivers and /v1/streams', operatorRefusals],
  ] as const) {
    describe(surface, () => {
      for (const [index, { title, status, code }] of refusals(none).entries()) {
        it(`${title}: ${status} ${code}`, async () => {
          await check(refusals(ids)[index] as Refusal)
        })
      }
    })
  }

  it('are, for SSF and polls, all that the document tells of', () => {
    const limits = limitRefusals({ ALL: none.stream, NONE: none.held })
    // Of a hub at its limits, without its database and with a fault: each call is asked there.
    const ofEach = ['429 ERR_TOO_MANY_REQUESTS', '500 ERR_INTERNAL', '503 ERR_UNAVAILABLE']
    const tested = [...ssfRefusals(none), ...limits].map((it) => ({
      ...it,
      error: `${it.status} ${it.code}`,
    }))
    const faults = ssfCalls(none).flatMap((call) => ofEach.map((error) => ({ ...call, error })))
    const names = (path: string) => path.replace(/\?.*/, '').replace(/^(\/ssf\/poll)\/.+/, '$1/{stream_id}')
    const seen = new Set(
      [...tested, ...faults].map(({ method, path, error }) => `${method} ${names(path)} ${error}`),
    )
    const told = apiOperations()
      .filter(({ path, scope }) => path.startsWith('/ssf/') && scope !== undefined)
      .flatMap(({ method, path, errors }) =>
        errors.map((error) => `${method.toUpperCase()} ${path} ${error}`),
      )
    assert.ok(told.length > 100)
    assert.deepEqual(
      told.filter((error) => !seen.has(error)),
      [],
    )
  })
})
