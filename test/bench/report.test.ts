import assert from 'node:assert/strict'
import { OptionError, parseOptions } from '../../bench/options.js'
import { parseStat } from '../../bench/process-usage.js'
import { renderNotes, replaceMarked, type ScenarioSummary } from '../../bench/report.js'

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

describe('bench aims', () => {
  const level = { bareP50Ms: 1, bareP99Ms: 2, hubP50Ms: 3, hubP99Ms: 7 }
  const summary: ScenarioSummary = {
    log: 'postgres',
    streams: 5,
    rounds: 1,
    barePerS: 100,
    hubPerS: 70,
    ratio: 0.7,
    held: true,
    levels: [{ share: 0.3, ...level, p99Ratio: 3.5 }],
    cpuUs: { hub: 400, postgres: 110 },
    bareCpuUs: 300,
    memoryMb: {},
    lost: 0,
    duplicates: 0,
  }

  it('are held against 5 and 1,000 streams, and no others', () => {
    const notes = renderNotes([summary, { ...summary, streams: 1_000 }, { ...summary, streams: 100 }])
    assert.equal(notes.match(/of the bare rate/g)?.length, 2)
  })

  it('say for each figure whether it is met', () => {
    const of = (change: Partial<ScenarioSummary>) => renderNotes([{ ...summary, ...change }])
    assert.match(of({}), /0\.70 of the bare rate \(aim: at least 0\.7, met\)/)
    assert.match(of({ held: false }), /< 0\.70 of the bare rate \(aim: at least 0\.7, missed\)/)
    assert.match(of({}), /p99 at 30 % 3\.5 times the bare one \(aim: at most 3, missed\)/)
    assert.match(of({ log: 'kafka' }), /p99 at 30 % 3\.5 times the bare one \(aim: at most 4, met\)/)
    assert.match(of({}), /CPU per delivery of all parts 510 µs \(aim: .*: 510, met\)/)
    assert.match(of({ cpuUs: { hub: 511 } }), /CPU per delivery of all parts 511 µs \(aim: .*: 510, missed\)/)
    assert.doesNotMatch(of({ bareCpuUs: undefined }), /CPU/)
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
