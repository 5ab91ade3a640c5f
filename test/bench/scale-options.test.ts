import assert from 'node:assert/strict'
import { OptionError } from '../../bench/options.js'
import { parseScaleOptions } from '../../bench/scale/options.js'

describe('bench: options of scale', () => {
  it('are the sizes that the hub is meant for, unless told otherwise', () => {
    const sizes = { streams: 10_000, subjects: 1_000_000, open: 1_000_000, heapMb: 512 }
    const flags = { quick: false, json: false, detail: false, document: false }
    assert.deepEqual(parseScaleOptions([]), { ...sizes, ...flags })
    assert.deepEqual(parseScaleOptions(['--open', '5000', '--docs']), {
      ...sizes,
      ...flags,
      open: 5_000,
      document: true,
    })
    assert.equal(parseScaleOptions(['--quick'])?.streams, 200)
    assert.equal(parseScaleOptions(['--help']), undefined)
  })

  for (const [args, words] of [
    [['--streams', '9'], /--streams: write a whole number from 10 to 100000, not 9/],
    [['--subjects', 'many'], /--subjects: write a whole number/],
    [['--open', '1.5'], /--open: write a whole number/],
    [['--heap', '63'], /--heap: write a whole number from 64/],
    [['--colour'], /colour/],
    [['more'], /more/],
  ] as const) {
    it(`refuse ${args.join(' ')}`, () => {
      assert.throws(
        () => parseScaleOptions(args),
        (error: unknown) => error instanceof OptionError && words.test(error.message),
      )
    })
  }
})
