import assert from 'node:assert/strict'
import {
  bearerToken,
  Forbidden,
  InvalidToken,
  MalformedCredentials,
  MissingCredentials,
} from '../../src/auth/bearer.js'

const REALM = 'Bearer realm="firebreak"'

function read(authorization?: string | string[], query: Record<string, string> = {}): string {
  const sent = authorization === undefined ? [] : [authorization].flat()
  const [first] = sent
  return bearerToken({
    headers: first === undefined ? {} : { authorization: first },
    rawHeaders: ['Host', 'Authorization', ...sent.flatMap((value) => ['aUTHORIZATION', value])],
    query,
  })
}

describe('auth: the bearer token of a request', () => {
  for (const [header, token] of [
    ['Bearer abc', 'abc'],
    ['bEARER   abc', 'abc'],
    ['Bearer A-Z.a_z~0+9/==', 'A-Z.a_z~0+9/=='],
    [`Bearer ${'x'.repeat(8_192)}`, 'x'.repeat(8_192)],
  ] as const) {
    it(`is read from ${header.slice(0, 30)} with ${header.length} characters`, () => {
      assert.equal(read(header), token)
    })
  }

  for (const header of [
    'Bearer',
    'Bearer ',
    'Bearer a b',
    'Bearer  a ',
    'Bearer a=b',
    'Bearer =',
    'Bearer "a"',
    'Bearer a,b',
    'Bearer a\tb',
    `Bearer ${'x'.repeat(8_193)}`,
  ]) {
    it(`is malformed in ${JSON.stringify(header.slice(0, 30))} with ${header.length} characters`, () => {
      assert.throws(() => read(header), MalformedCredentials)
    })
  }

  it('is missing where there is none, or the credentials of another scheme', () => {
    for (const header of [
      undefined,
      '',
      'Basic abc',
      'Bearerabc',
      'Bearer\tabc',
      'x Bearer abc',
      'DPoP abc',
    ]) {
      assert.throws(() => read(header), MissingCredentials, header)
    }
  })

  it('is refused when it is sent twice, even the same, and whatever the second scheme', () => {
    assert.throws(() => read(['Bearer abc', 'Bearer abc']), MalformedCredentials)
    assert.throws(() => read(['Basic abc', 'Bearer abc']), MalformedCredentials)
  })

  it('is refused in the query before anything else is looked at, even empty', () => {
    for (const access_token of ['abc', '']) {
      assert.throws(() => read(undefined, { access_token }), { message: /in the query is not accepted/ })
      assert.throws(() => read('Bearer abc', { access_token }), MalformedCredentials)
    }
    assert.equal(read('Bearer abc', { token: 'x' }), 'abc')
  })

  it('is challenged as RFC 6750 §3 has it, each fault by its status, code and error', () => {
    const rows = [
      new MissingCredentials(),
      new InvalidToken(),
      new MalformedCredentials('x'),
      new Forbidden('x', 'ssf.manage'),
      new Forbidden('x'),
    ].map(({ status, code, responseHeaders }) => [status, code, responseHeaders])
    const error = (text: string) => ({ 'WWW-Authenticate': `${REALM}, error=${text}` })
    assert.deepEqual(rows, [
      [401, 'ERR_UNAUTHENTICATED', { 'WWW-Authenticate': REALM }],
      [
        401,
        'ERR_INVALID_TOKEN',
        error('"invalid_token", error_description="The token is unknown, expired or revoked"'),
      ],
      [400, 'ERR_MALFORMED_CREDENTIALS', error('"invalid_request"')],
      [403, 'ERR_FORBIDDEN', error('"insufficient_scope", scope="ssf.manage"')],
      [403, 'ERR_FORBIDDEN', error('"insufficient_scope"')],
    ])
  })
})
