import assert from 'node:assert/strict'
import { OptionError } from '../../bench/options.js'
import { isKept, renderFindings } from '../../bench/promises/finding.js'
import { parsePromisesOptions } from '../../bench/promises/options.js'

describe('bench: options of promises', () => {
  it('measure all, unless some are named', () => {
    const all = ['burst', 'stall', 'backlog', 'polls', 'history', 'soak']
    const flags = { quick: false, json: false, document: false }
    assert.deepEqual(parsePromisesOptions([]), { only: all, ...flags })
    assert.deepEqual(parsePromisesOptions(['--docs']), { only: all, ...flags, document: true })
    assert.deepEqual(parsePromisesOptions(['--only', 'soak, burst', '--quick', '--json', '--profile', 'p']), {
      only: ['soak', 'burst'],
      quick: true,
      json: true,
      document: false,
      profileFolder: 'p',
    })
    assert.equal(parsePromisesOptions(['--help']), undefined)
  })

  for (const [args, words] of [
    [['--only', 'speed'], /--only: write some of burst, .*, not speed/],
    [['--only', ''], /--only: write some of/],
    [['--docs', '--quick'], /leave --quick and --only out/],
    [['--docs', '--only', 'burst'], /leave --quick and --only out/],
    [['--colour'], /colour/],
    [['more'], /more/],
  ] as const) {
    it(`refuse ${args.join(' ')}`, () => {
      assert.throws(
        () => parsePromisesOptions(args),
        (error: unknown) => error instanceof OptionError && words.test(error.message),
      )
    })
  }
})

describe('bench: what was promised', () => {
  const most = { promise: 'a', seen: 1.5, unit: '×', bound: 1.5, detail: 'd' } as const
  const least = {
    promise: 'b',
    seen: 19_999,
    unit: 'SETs/s',
    bound: 20_000,
    isLeast: true,
    detail: 'e',
  } as const

  it('is kept up to its bound, or from it on', () => {
    assert.deepEqual([most, { ...most, seen: 1.51 }, least, { ...least, seen: 20_000 }].map(isKept), [
      true,
      false,
      false,
      true,
    ])
  })

  it('stands in a table with what it is made of', () => {
    const [, , first, second] = renderFindings([most, least]).split('\n')
    assert.equal(first, '| a | ≤ 1.50 × | 1.50 × | yes | d |')
    assert.equal(second, '| b | ≥ 20,000 SETs/s | 19,999 SETs/s | no | e |')
  })
})
