import assert from 'node:assert/strict'
import { createFetchJson } from '../../src/auth/fetch-json.js'
import { createJwtVerifier } from '../../src/auth/jwt-tokens.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { KeysUnavailable } from '../../src/secevent/verify-set.js'

describe('auth: documents of another issuer', () => {
  function start(status: number, text: string) {
    const asked: unknown[] = []
    const fetchJson = createFetchJson(async (request) => {
      asked.push(request)
      return { status, body: Buffer.from(text) }
    })
    return { asked, fetchJson }
  }
  const url = 'https://as.example.com/x'

  it('are asked for by GET, or by POST with a form and who asks', async () => {
    const { asked, fetchJson } = start(200, '{"a":1}')
    assert.deepEqual(await fetchJson({ url }), { status: 200, body: { a: 1 } })
    await fetchJson({ url, form: { token: 'a b', hint: 'c' }, authorization: 'Basic x' })
    assert.deepEqual(asked, [
      { url, method: 'GET', headers: { accept: 'application/json' }, deadlineMs: 3_000 },
      {
        url,
        method: 'POST',
        headers: {
          accept: 'application/json',
          'content-type': 'application/x-www-form-urlencoded',
          authorization: 'Basic x',
        },
        body: 'token=a+b&hint=c',
        deadlineMs: 3_000,
      },
    ])
  })

  it('are not read when the answer is another than 200, and no document when they are no JSON', async () => {
    assert.deepEqual(await start(404, '<html>').fetchJson({ url }), { status: 404, body: undefined })
    assert.deepEqual(await start(201, '{}').fetchJson({ url }), { status: 201, body: undefined })
    await assert.rejects(start(200, '<html>').fetchJson({ url }), SyntaxError)
  })
})

describe('auth: a JWT while its issuer’s keys cannot be had', () => {
  const header = Buffer.from('{"alg":"ES256"}').toString('base64url')
  const verify = (error: Error) =>
    createJwtVerifier({
      issuer: 'https://as.example.com',
      audience: 'hub',
      keys: async () => ({ find: () => Promise.reject(error) }),
      nowMs: () => 0,
    })(`${header}.e30.AAAA`)

  it('is left for later, and another fault stays what it is', async () => {
    const cause = new KeysUnavailable('later', { retryAfterS: 1 })
    await assert.rejects(verify(cause), (error: unknown) => {
      assert.ok(error instanceof Unavailable)
      assert.match(error.message, /keys of the authorization server cannot be fetched/)
      assert.equal(error.cause, cause)
      return true
    })
    await assert.rejects(verify(new Error('a fault of the hub')), { message: 'a fault of the hub' })
  })
})
