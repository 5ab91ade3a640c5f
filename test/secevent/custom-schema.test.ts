import assert from 'node:assert/strict'
import { schemaProblems } from '../../src/secevent/custom-schema.js'
import { classifyEvent, createEventTypes, lanesOf } from '../../src/secevent/event-types.js'
import { validateEmitted, validateReceived } from '../../src/secevent/validate-event.js'

const nested = (levels: number): object =>
  levels === 0 ? { type: 'string' } : { type: 'object', properties: { a: nested(levels - 1) } }

/** So many levels with the object itself. */
const nestedOf = (levels: number): object => ({ properties: { a: nested(levels - 1) } })
/** So many characters of JSON with "type": "object". */
const ofChars = (length: number) => {
  const description = 'x'.repeat(length - JSON.stringify({ type: 'object', description: '' }).length)
  return { description }
}

const REFUSED: [title: string, schema: unknown, problem: RegExp][] = [
  ['text', 'object', /JSON object/],
  ['no object', { type: 'string' }, /"type": "object"/],
  ['another dialect', { $schema: 'http://json-schema.org/draft-07/schema#', type: 'object' }, /2020-12/],
  [
    'a regular expression',
    { type: 'object', properties: { a: { type: 'string', pattern: '(a+)+$' } } },
    /pattern/,
  ],
  [
    'members by regular expression',
    { type: 'object', patternProperties: { '^(a+)+$': {} } },
    /patternProperties/,
  ],
  ['a format', { type: 'object', properties: { a: { type: 'string', format: 'email' } } }, /format/],
  ['a reference to elsewhere', { type: 'object', $ref: 'https://example.com/s.json' }, /\$ref/],
  ['a reference to itself', { type: 'object', properties: { a: { $ref: '#' } } }, /\$ref/],
  ['a dynamic reference', { type: 'object', properties: { a: { $dynamicRef: '#x' } } }, /\$dynamicRef/],
  ['an id', { $id: 'https://example.com/x', type: 'object' }, /\$id/],
  ['definitions', { type: 'object', $defs: {} }, /\$defs/],
  [
    'pairwise comparison',
    { type: 'object', properties: { a: { type: 'array', uniqueItems: true } } },
    /uniqueItems/,
  ],
  ['a hidden one', { type: 'object', properties: { a: { anyOf: [{ not: { pattern: 'x' } }] } } }, /pattern/],
  ['an unknown keyword', { type: 'object', colour: 'red' }, /colour/],
  ['deep nesting', nested(11), /10 levels/],
  [
    'too many schemas',
    { type: 'object', anyOf: Array.from({ length: 201 }, () => ({ type: 'object' })) },
    /200/,
  ],
  [
    'many values in enum, however they are spread',
    {
      type: 'object',
      properties: {
        list: {
          type: 'array',
          items: { anyOf: [0, 1].map((n) => ({ enum: Array.from({ length: 51 }, (_, i) => 2 * i + n) })) },
        },
      },
    },
    /100 values in enum/,
  ],
  [
    'deep nesting in lists of schemas',
    Array.from({ length: 10 }).reduce((inner) => ({ anyOf: [inner] }), {}) as object,
    /10 levels/,
  ],
  ['a schema that is null', { type: 'object', items: null }, /not valid/],
  ['a list of schemas that is none', { type: 'object', anyOf: {} }, /not valid/],
  ['too much text', { type: 'object', description: 'x'.repeat(20_000) }, /16384/],
  ['nonsense in a keyword', { type: 'object', required: 'a' }, /not valid/],
  ['a type that is none', { type: 'object', properties: { a: { type: 'text' } } }, /not valid/],
]

const TYPE = 'https://example.com/events/badge'
const subject = { format: 'email', email: 'a@example.com' }
const SCHEMA = {
  type: 'object',
  properties: { state: { enum: ['lost', 'found'] }, door: { type: 'string', maxLength: 5 } },
  required: ['state', 'door'],
  additionalProperties: false,
}
const effect = {
  member: 'state',
  values: { lost: 'tightens', found: 'loosens' },
  otherwise: 'neutral',
} as const
const types = createEventTypes([{ type: TYPE, effect, schema: SCHEMA }])

describe('schemas of registered event types', () => {
  for (const [title, schema, problem] of REFUSED) {
    it(`refuses ${title}`, () => assert.match(schemaProblems(schema).join(' '), problem))
  }

  it('takes every keyword whose cost is bounded, booleans and members named like keywords', () => {
    const schema = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 't',
      type: 'object',
      properties: {
        pattern: { type: 'string', minLength: 1, maxLength: 9 },
        $ref: true,
        list: { type: 'array', items: { type: 'integer', minimum: 1, exclusiveMaximum: 9 }, maxItems: 3 },
        pair: { type: 'array', prefixItems: [{ const: 1 }, {}], minItems: 2, items: false },
        either: { oneOf: [{ type: 'null' }, { type: 'object', minProperties: 1 }] },
      },
      propertyNames: { maxLength: 20 },
      not: { required: ['bad'] },
      additionalProperties: false,
    }
    assert.deepEqual(schemaProblems(schema), [])
  })

  it('takes each keyword whose cost is bounded', () => {
    const members: Record<string, unknown> = {
      title: 't',
      description: 'd',
      examples: [1],
      $comment: 'c',
      type: 'number',
      const: 1,
      enum: [1],
      required: ['a'],
      minLength: 1,
      maxLength: 1,
      minimum: 1,
      maximum: 1,
      exclusiveMinimum: 1,
      exclusiveMaximum: 1,
      minItems: 1,
      maxItems: 1,
      minProperties: 1,
      maxProperties: 1,
      additionalProperties: {},
      items: {},
      propertyNames: {},
      not: {},
      anyOf: [{}],
      oneOf: [{}],
      allOf: [{}],
      prefixItems: [{}],
      properties: {},
    }
    // Alone, so without the type that a strict compiler would ask for beside it.
    for (const [keyword, value] of Object.entries(members)) {
      assert.deepEqual(
        schemaProblems({ type: 'object', properties: { a: { [keyword]: value } } }),
        [],
        keyword,
      )
    }
  })

  it('may reach its limits, and not go one over', () => {
    const problems = (schema: object) => schemaProblems({ type: 'object', ...schema }).join(' ')
    const names = (count: number) => Array.from({ length: count }, (_, n) => n)
    const limits: [most: object, oneOver: object, problem: RegExp][] = [
      [nestedOf(9), nestedOf(10), /10 levels/],
      [{ anyOf: names(199).map(() => true) }, { anyOf: names(200).map(() => true) }, /at most 200 schemas/],
      [{ enum: names(100) }, { enum: names(101) }, /at most 100 values/],
      [ofChars(16_384), ofChars(16_385), /at most 16384 characters/],
    ]
    for (const [most, oneOver, problem] of limits) {
      assert.equal(problems(most), '')
      assert.match(problems(oneOver), problem)
    }
    // Names are no schemas.
    assert.equal(problems({ required: names(300).map(String) }), '')
  })

  it('have what is wrong with them said in few words', () => {
    const [keyword = ''] = schemaProblems({ type: 'object', ['x'.repeat(200)]: 1 })
    assert.equal(keyword, `schema may not use ${'x'.repeat(100)}.`)
    const [fault = ''] = schemaProblems({ type: 'object', required: Array.from({ length: 500 }, () => 1) })
    assert.match(fault, /^schema is not valid: /)
    assert.ok(fault.length < 540, String(fault.length))
  })

  it('looks no further than the limits: a schema that holds itself is refused and ends', () => {
    let deep: object = {}
    for (let level = 0; level < 2_000; level += 1) deep = { not: deep }
    assert.match(schemaProblems({ type: 'object', not: deep }).join(' '), /10 levels/)
  })

  it('names the first fault of an event, and is open to unknown members on receipt', () => {
    const claims = { state: 'burnt', door: '123456', extra: 1 }
    const problems = validateEmitted(TYPE, { claims, subject }, types)
    assert.equal(problems.length, 1, problems.join(' '))
    assert.deepEqual(validateReceived(TYPE, { state: 'lost', door: 'A', extra: 1 }, types), [])
    assert.equal(validateReceived(TYPE, claims, types).length, 1, 'the first fault is enough')
  })

  it('gives a short answer to an event that is wrong in very many places', () => {
    const items = {
      anyOf: [{ enum: Array.from({ length: 100 }, (_, n) => `value ${n}`) }, { type: 'string' }],
    }
    const schema = { type: 'object', properties: { list: { type: 'array', items } } }
    assert.deepEqual(schemaProblems(schema), [])
    const big = createEventTypes([{ type: TYPE, effect: 'neutral', schema }])
    const list = (item: unknown) => ({ list: Array.from({ length: 20_000 }, () => item) })
    const problems = validateEmitted(TYPE, { claims: list(1), subject }, big)
    assert.ok(problems.length > 0 && problems.length < 10, String(problems.length))
    assert.ok(problems.join(' ').length < 1_000, problems.join(' ').slice(0, 2_000))
    assert.deepEqual(validateEmitted(TYPE, { claims: list('any'), subject }, big), [])
    const stray = { ['x'.repeat(60_000)]: 1 }
    const [problem = ''] = validateEmitted(
      TYPE,
      { claims: { state: 'lost', door: 'A', ...stray }, subject },
      types,
    )
    assert.match(problem, /must not have the member "x+…"/)
    assert.ok(problem.length < 300)
  })

  it('lets event_timestamp date an event whose schema does not name it', () => {
    const claims = { state: 'lost', door: 'A', event_timestamp: 1_700_000_000 }
    assert.deepEqual(validateEmitted(TYPE, { claims, subject }, types), [])
    const wrong = validateEmitted(TYPE, { claims: { ...claims, event_timestamp: 1e12 }, subject }, types)
    assert.match(wrong.join(), /seconds/)
  })

  it('lets event_timestamp be what the schema makes of it when it names it', () => {
    const schema = {
      type: 'object',
      properties: { event_timestamp: { type: 'integer', maximum: 10 } },
      required: ['event_timestamp'],
    }
    const own = createEventTypes([{ type: TYPE, effect: 'neutral', schema }])
    const emitted = (event_timestamp: unknown) =>
      validateEmitted(TYPE, { claims: { event_timestamp }, subject }, own)
    assert.deepEqual(emitted(10), [])
    assert.match(emitted(11).join(), /<= 10/)
    assert.equal(emitted('x').length, 1)
    const bare = createEventTypes([{ type: TYPE, effect: 'neutral', schema: { type: 'object' } }])
    assert.deepEqual(validateEmitted(TYPE, { claims: { event_timestamp: 1 }, subject }, bare), [])
    assert.match(validateEmitted(TYPE, { claims: { event_timestamp: -1 }, subject }, bare).join(), /seconds/)
  })

  it('is closed on the way out, and opened on the way in where no member was allowed', () => {
    // Made here and not once for all: a compiled schema is kept with its type.
    const closed = createEventTypes([{ type: TYPE, effect: 'neutral', schema: SCHEMA }])
    const stray = { state: 'lost', door: 'A', extra: 1 }
    assert.match(validateEmitted(TYPE, { claims: stray, subject }, closed).join(), /"extra"/)
    assert.deepEqual(validateReceived(TYPE, stray, closed), [])
    assert.equal(validateReceived(TYPE, { ...stray, door: '123456' }, closed).length, 1)
    // Received first, so that neither form can stand in for the other.
    const again = createEventTypes([{ type: TYPE, effect: 'neutral', schema: SCHEMA }])
    assert.deepEqual(validateReceived(TYPE, stray, again), [])
    assert.match(validateEmitted(TYPE, { claims: stray, subject }, again).join(), /"extra"/)
    const typed = { ...SCHEMA, additionalProperties: { type: 'string' } }
    const own = createEventTypes([{ type: TYPE, effect: 'neutral', schema: typed }])
    assert.equal(validateReceived(TYPE, stray, own).length, 1)
    assert.deepEqual(validateReceived(TYPE, { ...stray, extra: 'x' }, own), [])
  })

  it('takes any object without a schema', () => {
    const open = createEventTypes([{ type: TYPE, effect: 'neutral' }])
    assert.deepEqual(validateReceived(TYPE, { a: 1 }, open), [])
    assert.deepEqual(validateEmitted(TYPE, { claims: { a: 1 }, subject }, open), [])
    assert.match(validateEmitted(TYPE, { claims: [], subject }, open).join(), /JSON object/)
  })
})

describe('registered event types', () => {
  it('class events by their rule, with the lane that follows', () => {
    assert.deepEqual(classifyEvent(TYPE, { state: 'lost' }, types), { effect: 'tightens', lane: 'urgent' })
    assert.deepEqual(classifyEvent(TYPE, { state: 'found' }, types), { effect: 'loosens', lane: 'routine' })
    assert.deepEqual(classifyEvent(TYPE, {}, types), { effect: 'neutral', lane: 'routine' })
    assert.deepEqual(classifyEvent(TYPE, { state: 'lost' }), { effect: 'neutral', lane: 'routine' })
  })

  it('may be asked for by streams, and take no built-in type’s place', () => {
    const [builtIn = ''] = types.supported()
    const more = createEventTypes([
      { type: builtIn, effect: 'neutral' },
      { type: TYPE, effect: 'tightens' },
    ])
    assert.ok(more.supported().includes(TYPE))
    assert.equal(more.supported().filter((type) => type === builtIn).length, 1)
    assert.notEqual(more.get(builtIn)?.family, 'custom')
  })

  it('tell the lanes they may take', () => {
    assert.deepEqual(lanesOf({ effect }), ['urgent', 'routine'])
    assert.deepEqual(lanesOf({ effect: 'tightens' }), ['urgent'])
    assert.deepEqual(lanesOf({ effect: 'loosens' }), ['routine'])
    assert.deepEqual(lanesOf({ effect: { ...effect, values: { a: 'neutral' } } }), ['routine'])
    assert.deepEqual(lanesOf({ effect: { member: 'a', values: { a: 'tightens' }, otherwise: 'tightens' } }), [
      'urgent',
    ])
  })
})
