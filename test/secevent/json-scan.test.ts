import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MAX_JSON_DEPTH, scanJson } from '../../src/secevent/json-scan.js'

describe('scanJson', () => {
  const clean = [
    '{}',
    '[]',
    '"text"',
    '-1.5e-10',
    '[0,0.25,12.75e+3,1E5]',
    '["a","a",{"a":[]},"a"]',
    '{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
    '{"a":"a","b":["a","a"]}',
    '{"a":[{"b":"a"},"a",{},"a"],"c":["a",[],"a"]}',
    ' { "a" : [ "b" , { "b" : 1 } ] , "c" : "a" } ',
    '{"\\\\":1,"\\"":2,"a,b":"{\\"a\\":1,\\"a\\":2}"}',
    '9223372036854774784',
    '[0.00000000001e20,-0.00000000001e20]',
    '[-9223372036854774784]',
    '"\\ud83d\\ude00"',
  ]
  for (const text of clean) {
    it(`finds nothing in ${text}`, () => assert.equal(scanJson(text), undefined))
  }

  const spoiled: [string, RegExp][] = [
    ['{"a":1,"a":1}', /"a" twice/],
    ['{"a":[1,{"b":2}],"c":{"d":1,"e":[],"d":2}}', /"d" twice/],
    ['{"a":1,"\\u0061":1}', /"a" twice/],
    ['{"":1,"":1}', /"" twice/],
    ['[{"x":1},{"__proto__":1}]', /__proto__/],
    ['["\\u0000"]', /U\+0000/],
    ['["\\uD800x"]', /surrogate/],
    ['1e400', /64 bits/],
    ['[-1e400]', /64 bits/],
    ['{"a":0,"b":1e+400}', /64 bits/],
    ['0.5e+400', /64 bits/],
    ['12.25E400', /64 bits/],
    ['[-9223372036854775809]', /64 bits/],
    ['["\\x"]', /not JSON/],
    ['{"a":[{},[],-1,{"b":[]}],"c":{},"a":1}', /"a" twice/],
    ['{ "a" :\n-1 ,\t"a" : 1 }', /"a" twice/],
    [`{"${'x'.repeat(99)}":1,"${'x'.repeat(99)}":1}`, /the member "x{80}" twice/],
  ]
  for (const [text, problem] of spoiled) {
    it(`finds what is wrong with ${text}`, () => assert.match(scanJson(text) ?? '', problem))
  }

  it(`allows ${MAX_JSON_DEPTH} levels and no more, with constant stack`, () => {
    const nested = (levels: number) => ['{"a":'.repeat(levels), 1, '}'.repeat(levels)].join('')
    assert.equal(scanJson(nested(MAX_JSON_DEPTH)), undefined)
    assert.match(scanJson(nested(MAX_JSON_DEPTH + 1)) ?? '', /deeper/)
    assert.match(scanJson('['.repeat(1_000_000)) ?? '', /deeper/)
  })

  it('never stumbles, whatever the text', () => {
    const piece = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      'u',
      '0',
      '-',
      'a',
      ' ',
      'true',
      'e',
    )
    fc.assert(fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => void scanJson(pieces.join(''))))
  })

  it('finds nothing in what JSON.stringify writes within the limits', () => {
    const value = fc.jsonValue({ maxDepth: 4 })
    fc.assert(
      fc.property(value, (found) => {
        const text = JSON.stringify(found)
        const harmless = !/\\u0000|\\ud|__proto__/i.test(text) && !/\d{19}|e\+/.test(text)
        fc.pre(harmless)
        assert.equal(scanJson(text), undefined)
      }),
    )
  })

  it('takes time in proportion to the text, not its square', () => {
    const text = `{${Array.from({ length: 200_000 }, (_, index) => `"k${index}":${index}`).join(',')}}`
    const started = performance.now()
    assert.equal(scanJson(text), undefined)
    assert.ok(performance.now() - started < 20_000)
  })
})
