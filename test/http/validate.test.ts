import assert from 'node:assert/strict'
import { decodeCursor, encodeCursor, parsePage, toPage } from '../../src/http/page.js'
import { parseBody, parseQuery, parseTime } from '../../src/http/validate.js'

const SCHEMA = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    at: { type: 'string', format: 'date-time' },
    grants: {
      type: 'object',
      properties: { 'a/b': { type: 'integer', minimum: 1 } },
      additionalProperties: false,
    },
  },
  required: ['name'],
  additionalProperties: false,
}

describe('http: validation', () => {
  const messageOf = (body: unknown): string => {
    try {
      parseBody(SCHEMA, body)
    } catch (error) {
      assert.equal((error as { code: string }).code, 'ERR_INVALID_REQUEST')
      return (error as Error).message
    }
    return ''
  }

  it('names every error with its place, once', () => {
    const message = messageOf({ at: 'noon', colour: 1, grants: { 'a/b': 0, c: 1 } })
    assert.equal(
      message,
      'name is required; colour is not known here; at must be a time like 2026-01-31T12:00:00Z; grants.c is not known here; grants.a/b must be 1 or more.',
    )
  })

  it('refuses an absent body and one of another type', () => {
    assert.match(messageOf(undefined), /no body/)
    assert.match(messageOf([]), /the body must be a JSON object/)
  })

  it('names only the first error of a body too large to look at whole', () => {
    const schema = {
      type: 'object',
      properties: { acks: { type: 'array', items: { type: 'object', required: ['jti', 'status'] } } },
    }
    const refusal = (length: number) => {
      try {
        parseBody(schema, { acks: Array.from({ length }, () => ({})) })
      } catch (error) {
        return (error as Error).message
      }
      return ''
    }
    assert.equal(refusal(3).split('; ').length, 6)
    assert.equal(refusal(1_000_000), 'acks.0.jti is required.')
    const wide = Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`m${index}`, 1]))
    assert.match(messageOf({ name: 'a', ...wide }), /^m\d+ is not known here\.$/)
  })

  it('does not send a huge member name back', () => {
    assert.ok(messageOf({ name: 'a', ['x'.repeat(10_000)]: 1 }).length < 200)
  })

  it('does not change the body, and does not read numbers out of text in it', () => {
    const schema = { type: 'object', properties: { n: { type: 'integer', default: 5 } } }
    assert.throws(() => parseBody(schema, { n: '5' }), /n must be a whole number/)
    assert.deepEqual(parseBody(schema, {}), {})
  })

  const PLAIN: [schema: object, body: unknown, text: string][] = [
    [{ enum: ['a', null] }, 'b', 'the body must be one of a, null.'],
    [{ type: 'object', properties: { a: false } }, { a: 1 }, 'a does not go with the other members.'],
    [{ type: 'object', minProperties: 1 }, {}, 'the body must have at least 1 member.'],
    [{ type: 'object', maxProperties: 1 }, { a: 1, b: 2 }, 'the body must have at most 1 member.'],
    [{ type: ['array', 'null'] }, 'x', 'the body must be a JSON array or null.'],
    [{ type: 'array', minItems: 2 }, [], 'the body must have at least 2 entries.'],
    [{ type: 'array', maxItems: 1 }, [1, 2], 'the body must have at most 1 entry.'],
    [{ type: 'array', uniqueItems: true }, [1, 1], 'the body must name nothing twice.'],
    [{ type: 'string', minLength: 1 }, '', 'the body must have at least 1 character.'],
    [{ type: 'string', maxLength: 3 }, 'four', 'the body must have at most 3 characters.'],
    [{ type: 'string', format: 'uri' }, 'x', 'the body must be an absolute URI.'],
    [{ type: 'string', format: 'ipv4' }, 'x', 'the body must be of the format ipv4.'],
    [{ type: 'number', maximum: 3 }, 4, 'the body must be 3 or less.'],
    [{ type: 'string' }, 4, 'the body must be text.'],
    [{ type: 'boolean' }, 4, 'the body must be true or false.'],
  ]
  for (const [schema, body, text] of PLAIN) {
    it(`says "${text}"`, () => {
      assert.throws(() => parseBody(schema, body), { code: 'ERR_INVALID_REQUEST', message: text })
    })
  }

  it('refuses in a query what Postgres cannot hold as text', () => {
    const schema = { type: 'object', properties: { name: { type: 'string' } } }
    for (const name of ['a\u0000', '\ud800', ['b', 'a\u0000']]) {
      assert.throws(() => parseQuery(schema, { name }), { status: 400, message: /^name holds U\+0000/ })
    }
    assert.deepEqual(parseQuery(schema, { name: '😀' }), { name: '😀' })
  })

  it('refuses a leap second, which the format knows and a Date does not', () => {
    assert.throws(() => parseTime('expires_at', '2030-12-31T23:59:60Z'), {
      status: 400,
      message: /^expires_at/,
    })
    assert.equal(parseTime('at', '2030-12-31T23:59:59Z').toISOString(), '2030-12-31T23:59:59.000Z')
  })

  it('reads RFC 3339 times with any offset', () => {
    const ms = (text: string) => parseTime('from', text).getTime()
    assert.equal(ms('2026-11-22T08:00:00Z'), Date.UTC(2026, 10, 22, 8))
    assert.equal(ms('2026-11-22T01:30:00.250+02:00'), Date.UTC(2026, 10, 21, 23, 30, 0, 250))
    assert.equal(ms('2026-11-22T22:30:00-02:00'), Date.UTC(2026, 10, 23, 0, 30))
    assert.equal(ms('2026-11-22t08:00:00.123456z'), Date.UTC(2026, 10, 22, 8, 0, 0, 123))
    assert.equal(parseTime('at', '0001-01-01T00:00:00Z').toISOString(), '0001-01-01T00:00:00.000Z')
    assert.equal(parseTime('at', '9999-12-31 23:59:59Z').toISOString(), '9999-12-31T23:59:59.000Z')
  })

  for (const text of [
    ...[
      '',
      'now',
      '2026-11-22',
      '2026-11-22T08:00:00',
      '2026-02-31T00:00:00Z',
      '1763798400',
      '0000-06-01T00:00:00Z',
    ],
    ...[
      '0001-01-01T00:00:00+01:00',
      '9999-12-31T23:59:59-01:00',
      '2026-11-22T24:00:01Z',
      '2026-11-22T08:00:00+25:99',
    ],
  ]) {
    it(`refuses the time ${JSON.stringify(text)} and names the parameter`, () => {
      assert.throws(() => parseTime('from', text), /^InvalidRequest: from must be an RFC 3339 time/)
    })
  }

  it('reads numbers and booleans out of a query', () => {
    const schema = { type: 'object', properties: { n: { type: 'integer' }, on: { type: 'boolean' } } }
    assert.deepEqual(parseQuery(schema, { n: '5', on: 'true' }), { n: 5, on: true })
    assert.throws(() => parseQuery(schema, { n: ['1', '2'] }), /n must be a whole number/)
  })
})

describe('http: pages', () => {
  const rows = [1, 2, 3, 4, 5].map((n) => ({ n }))
  const use = { keysOf: (row: { n: number }) => [String(row.n)], render: (row: { n: number }) => row.n }

  it('gives a cursor only when more rows follow', () => {
    const first = toPage(rows.slice(0, 3), 2, use)
    assert.deepEqual(first.items, [1, 2])
    assert.deepEqual(decodeCursor(first.next as string, 1), ['2'])
    assert.deepEqual(toPage(rows.slice(0, 2), 2, use), { items: [1, 2], next: null })
    assert.deepEqual(toPage([], 2, use), { items: [], next: null })
  })

  it('reads limit and cursor, with a default and a bound', () => {
    assert.deepEqual(parsePage({}, 1), { limit: 100 })
    assert.deepEqual(parsePage({ limit: '7', cursor: encodeCursor(['a', 'b']) }, 2), {
      limit: 7,
      after: ['a', 'b'],
    })
    for (const limit of ['0', '1001', 'x', '-1', '1.5']) assert.throws(() => parsePage({ limit }, 1), /limit/)
  })

  it('refuses cursors that no list gave out', () => {
    const foreign = [
      '',
      'x',
      encodeCursor(['a']),
      encodeCursor(['a\0', 'b']),
      Buffer.from('{}').toString('base64url'),
    ]
    for (const cursor of foreign) assert.throws(() => parsePage({ cursor }, 2), /cursor was not given/)
  })
})
