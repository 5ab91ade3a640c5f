import assert from 'node:assert/strict'
import { OptionError, parseOptions } from '../../bench/options.js'
import { parseStat } from '../../bench/process-usage.js'
import { replaceMarked } from '../../bench/report.js'

describe('bench report', () => {
  it('replaces what stands between the marks and nothing else', () => {
    const readme = 'before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n'
    const once = replaceMarked(readme, '| new |')
    assert.equal(once, 'before\n<!-- bench -->\n| new |\n<!-- /bench -->\nafter\n')
    assert.equal(replaceMarked(once, '| new |'), once)
  })

  it('refuses a file without both marks', () => {
    assert.throws(() => replaceMarked('<!-- bench -->', 'x'), /<!-- \/bench -->/)
    assert.throws(() => replaceMarked('<!-- /bench --><!-- bench -->', 'x'))
  })
})

describe('bench options', () => {
  it('measures both logs and four stream counts unless told otherwise', () => {
    const options = parseOptions([])
    assert.deepEqual(options?.logs, ['postgres', 'kafka'])
    assert.deepEqual(options?.streams, [1, 5, 100, 1000])
    assert.equal(options?.mainPlan.confirmS, 30)
    assert.equal(options?.mainPlan.rounds, 3)
  })

  it('lets a single option change the quick run', () => {
    const options = parseOptions(['--quick', '--log', 'kafka', '--streams', '1,3'])
    assert.deepEqual(options?.logs, ['kafka'])
    assert.deepEqual(options?.streams, [1, 3])
    assert.equal(options?.mainPlan.rounds, 1)
  })

  for (const args of [['--log', 'disk'], ['--streams', '0'], ['--seconds', '1.5'], ['--fast'], ['extra']]) {
    it(`names what is wrong with ${args.join(' ')}`, () => {
      assert.throws(() => parseOptions(args), OptionError)
    })
  }
})

describe('process times', () => {
  it('reads parent and times behind a name that holds spaces and brackets', () => {
    const stat = '42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 1 0'
    assert.deepEqual(parseStat(stat, 10), { pid: 42, parent: 7, ownMs: 2_000, endedChildrenMs: 500 })
  })
})
