import assert from 'node:assert/strict'
import { createClock } from '../../src/kernel/clock.js'
import { createTokenSource } from '../../src/upstream/token-source.js'
import { UpstreamFailed } from '../../src/upstream/upstream-errors.js'

describe('upstream: what an error of the token endpoint shows', () => {
  const secret = 'canary/+: "quoted" %21'
  const pair = `${new URLSearchParams({ v: 'c 1' }).toString().slice(2)}:${new URLSearchParams({ v: secret }).toString().slice(2)}`
  const basic = Buffer.from(pair).toString('base64')

  async function messageOf(status: number, body: string): Promise<string> {
    const source = createTokenSource({
      credentials: { kind: 'client', clientId: 'c 1', tokenEndpoint: 'https://as.example/token' },
      secret,
      issuer: 'https://as.example',
      outgoing: {
        request: async () => ({ status, headers: {}, body: Buffer.from(body) }),
        checkUrl: async () => {},
      },
      clock: createClock(),
    })
    try {
      await source.get()
    } catch (error) {
      assert.ok(error instanceof UpstreamFailed)
      return error.message
    }
    throw new Error('no error')
  }

  const BODIES: [title: string, status: number, body: string, message: RegExp][] = [
    ['a success that is no JSON', 200, 'access_token=canary-token', /^The token endpoint: status 200\.$/],
    ['another success', 201, '{"access_token":"canary-token"}', /^The token endpoint: status 201\.$/],
    ['a debug page', 500, `<pre>authorization: Basic ${basic}</pre>`, /^The token endpoint: status 500\.$/],
    [
      'a failure that says why',
      400,
      '{"error":"invalid_scope","error_description":"no ssf","debug":"canary"}',
      /^The token endpoint: status 400, invalid_scope: no ssf\.$/,
    ],
    [
      'a failure that repeats the request',
      401,
      JSON.stringify({ error: basic, error_description: `${pair} ${secret} ${JSON.stringify(secret)}` }),
      /^The token endpoint: status 401, \*\*\*: c\+1:\*\*\* \*\*\* "\*\*\*"\.$/,
    ],
  ]
  for (const [title, status, body, message] of BODIES) {
    it(`is no secret, after ${title}`, async () => {
      const told = await messageOf(status, body)
      assert.match(told, message)
      assert.ok(!told.includes('canary') && !told.includes(basic))
    })
  }
})
