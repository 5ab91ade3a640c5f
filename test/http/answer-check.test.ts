import assert from 'node:assert/strict'
import { faultOf, type SeenAnswer } from '../support/answer-check.js'

const TIME = '2026-01-31T12:00:00.000Z'
const ID = '00000000-0000-4000-8000-000000000000'
const OPERATOR = { id: ID, name: 'ann', role: 'viewer', created_at: TIME, expires_at: null, revoked_at: null }

const answer = (more: Partial<SeenAnswer> & { json?: unknown } = {}): SeenAnswer => ({
  method: 'GET',
  url: `/v1/operators/${ID}?x=1`,
  status: 200,
  headers: { 'x-request-id': '1', 'content-type': 'application/json; charset=utf-8' },
  body: JSON.stringify(more.json ?? OPERATOR),
  ...more,
})
const refusal = (code: string) => ({ json: { code, message: 'No.' } })

describe('the check of every answer in tests', () => {
  it('lets pass what is as documented, and what is none of the hub', () => {
    assert.equal(faultOf(answer()), undefined)
    assert.equal(faultOf(answer({ status: 404, ...refusal('ERR_NOT_FOUND') })), undefined)
    assert.equal(faultOf(answer({ method: 'DELETE', status: 204, body: '' })), undefined)
    assert.equal(faultOf(answer({ headers: {}, json: { any: 1 } })), undefined)
    assert.equal(faultOf(answer({ url: '/own/route', json: { any: 1 } })), undefined)
    assert.equal(faultOf(answer({ url: '/v1/nothing', status: 404, ...refusal('ERR_NOT_FOUND') })), undefined)
  })

  it('finds members, statuses, codes, types, headers and paths that nobody documented', () => {
    const json = 'application/json'
    const cases: [Partial<SeenAnswer> & { json?: unknown }, RegExp][] = [
      [{ json: { ...OPERATOR, token_hash: 'x' } }, /additional properties.*token_hash/],
      [{ json: { ...OPERATOR, created_at: 'yesterday' } }, /created_at must match/],
      [{ json: { id: ID } }, /required/],
      [{ status: 203 }, /status is not documented/],
      [{ status: 404, ...refusal('ERR_CONFLICT') }, /allowed values/],
      [{ status: 401, ...refusal('ERR_INVALID_TOKEN') }, /lacks the header WWW-Authenticate/],
      [{ headers: { 'x-request-id': '1', 'content-type': 'text/html' } }, /type text\/html is not/],
      [{ body: 'not json' }, /not JSON/],
      [{ method: 'DELETE', status: 204, body: '{}' }, /no body/],
      [{ url: '/v1/nothing' }, /no such path/],
      [{ method: 'PUT' }, /no such path/],
      [{ url: '/v1/nothing', status: 404, json: { error: 'x' } }, /required/],
      [
        { url: '/t1/ssf/status', status: 418, headers: { 'x-request-id': '1', 'content-type': json } },
        /status/,
      ],
      [{ method: 'POST', url: `/ingest/${ID}`, headers: { 'cache-control': 'no-store' } }, /status/],
    ]
    for (const [more, fault] of cases) assert.match(faultOf(answer(more)) ?? 'none', fault, String(fault))
  })
})
