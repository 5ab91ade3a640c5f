import assert from 'node:assert/strict'
import { createMissedTally, type Missed } from '../../src/alerts/missed-tally.js'
import { LANES, type Lane } from '../../src/secevent/event.js'

describe('alerts: the sums of missed objectives', () => {
  const missed = (streamId: string, lane: Lane = 'urgent', count = 1): Missed => ({
    streamId,
    lane,
    receiver: `of ${streamId}`,
    stage: 'received',
    count,
  })
  const LOOK_MS = 5_000

  for (const windowMs of [10_000, 300_000, 3_600_000]) {
    it(`hold at most eleven numbers per stream and lane, however often is looked, in ${windowMs / 1000} s`, () => {
      const tally = createMissedTally(windowMs)
      const streams = Array.from({ length: 20 }, (_, index) => `s${index}`)
      const looks = Math.min(2_000, (3 * windowMs) / LOOK_MS)
      for (let look = 0; look < looks; look += 1) {
        const rows = streams.flatMap((streamId) => LANES.map((lane) => missed(streamId, lane)))
        tally.add(rows, look * LOOK_MS)
        assert.equal(tally.sums(look * LOOK_MS).length, streams.length)
        assert.ok(tally.size() <= streams.length * LANES.length * 11, `${tally.size()} after ${look} looks`)
      }
      assert.deepEqual(tally.sums(looks * LOOK_MS + windowMs), [])
      assert.equal(tally.size(), 0)
    })
  }

  it('are one per stream over its lanes, and leave when the window is over', () => {
    const tally = createMissedTally(100_000)
    tally.add([missed('a', 'urgent', 2), missed('a', 'control', 3), missed('b')], 0)
    tally.add([missed('a')], 50_000)
    const counts = (nowMs: number) => tally.sums(nowMs).map(({ streamId, count }) => `${streamId} ${count}`)
    assert.deepEqual(counts(99_999), ['a 6', 'b 1'])
    assert.deepEqual(counts(100_000), ['a 1'])
    assert.deepEqual(counts(149_999), ['a 1'])
    assert.deepEqual(counts(150_000), [])
  })

  it('keep what a lane has missed while it is held, of that lane alone', () => {
    const tally = createMissedTally(100_000)
    tally.add([missed('a', 'urgent'), missed('a', 'routine', 2), missed('b', 'control')], 0)
    for (let atMs = 10_000; atMs <= 500_000; atMs += 10_000) {
      tally.hold('routine', atMs)
      tally.sums(atMs)
    }
    assert.deepEqual(tally.sums(599_999), [{ streamId: 'a', receiver: 'of a', stage: 'received', count: 2 }])
    assert.equal(tally.size(), 1)
    assert.deepEqual(tally.sums(600_000), [])
  })
})
