import assert from 'node:assert/strict'
import { createArrivals } from '../../bench/arrivals.js'

const START_MS = 10_000

/** 30 events, one each 100 ms, on 2 streams; each late by what the function says. */
function arriveWith(lateMs: (event: number, stream: number) => number) {
  const arrivals = createArrivals({ firstSeq: 500, count: 30, streams: 2 })
  for (let event = 0; event < 30; event += 1) {
    for (const stream of [0, 1])
      arrivals.record(500 + event, stream, START_MS + event * 100 + lateMs(event, stream))
  }
  return arrivals
}

const SCHEDULE = { startMs: START_MS, ratePerS: 10, sent: 30 }

describe('arrivals', () => {
  it('measures from the intended send time, not from when the driver got round to it', () => {
    const summary = arriveWith((event, stream) => (event === 7 && stream === 1 ? 400 : 5)).summarise(SCHEDULE)
    assert.equal(summary.delivered, 60)
    assert.equal(summary.p50Ms, 5)
    assert.equal(summary.maxMs, 400)
    assert.equal(summary.lastP50Ms, 5)
    assert.equal(summary.growthMs, 0)
    // The last was due 100 ms before the schedule's end.
    assert.equal(summary.drainMs, -95)
  })

  it('shows a growing backlog as the distance between first and last third', () => {
    const summary = arriveWith((event) => 5 + event * 10).summarise(SCHEDULE)
    assert.equal(summary.growthMs, 200)
  })

  it('takes an event as arrived when the last of its streams has it', () => {
    const summary = arriveWith((_event, stream) => (stream === 0 ? 5 : 30)).summarise(SCHEDULE)
    assert.equal(summary.lastP50Ms, 30)
  })

  it('counts a repeat once, and keeps the first arrival', () => {
    const arrivals = arriveWith(() => 5)
    assert.equal(arrivals.record(500, 0, START_MS + 900), true)
    const summary = arrivals.summarise(SCHEDULE)
    assert.equal(summary.delivered, 60)
    assert.equal(summary.duplicates, 1)
    assert.equal(summary.maxMs, 5)
  })

  it('refuses what does not belong to this run', () => {
    const arrivals = createArrivals({ firstSeq: 500, count: 30, streams: 2 })
    for (const [seq, stream] of [
      [499, 0],
      [530, 0],
      [500, 2],
      [Number.NaN, 0],
      [500, Number.NaN],
    ] as const) {
      assert.equal(arrivals.record(seq, stream, START_MS), false)
    }
    assert.equal(arrivals.delivered(), 0)
  })

  it('looks only at what was sent when a run stopped early', () => {
    const arrivals = createArrivals({ firstSeq: 0, count: 30, streams: 1 })
    for (let event = 0; event < 6; event += 1) arrivals.record(event, 0, START_MS + event * 100 + event)
    const summary = arrivals.summarise({ ...SCHEDULE, sent: 6 })
    assert.equal(summary.delivered, 6)
    assert.equal(summary.growthMs, 4)
  })
})
