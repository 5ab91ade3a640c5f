import assert from 'node:assert/strict'
import { createLogBreaker } from '../../src/eventlog/log-breaker.js'

const A = { lane: 'urgent', slot: 1 } as const
const B = { lane: 'urgent', slot: 2 } as const

describe('log breaker', () => {
  let nowMs: number
  let breaker: ReturnType<typeof createLogBreaker>

  beforeEach(() => {
    nowMs = 1_000_000
    const clock = { now: () => nowMs, monotonicMs: () => nowMs }
    breaker = createLogBreaker({ clock, returnAfterMs: 5_000 })
  })

  function detour(place: typeof A | typeof B, ...ids: number[]): void {
    breaker.beginDetour(place)
    breaker.endDetour(place, ids)
  }

  function answerFor(ms: number): void {
    breaker.probed(true)
    nowMs += ms
    breaker.probed(true)
  }

  it('sends everything around Kafka from the trip on', () => {
    assert.equal(breaker.takesDetour(A), false)
    breaker.trip()
    assert.equal(breaker.takesDetour(A), true)
    assert.equal(breaker.takesDetour(B), true)
  })

  it('begins to return only after the broker has answered without a break for the quiet time', () => {
    breaker.trip()
    answerFor(4_999)
    assert.equal(breaker.state(), 'open')
    breaker.probed(false)
    nowMs += 10_000
    answerFor(4_999)
    assert.equal(breaker.state(), 'open')
    nowMs += 1
    breaker.probed(true)
    assert.equal(breaker.state(), 'closed')
  })

  it('keeps a slot away until its rows are fanned out, and lets the others return', () => {
    breaker.trip()
    detour(A, 10)
    detour(B, 11)
    answerFor(5_000)
    assert.equal(breaker.state(), 'returning')
    const range = breaker.detourRange()
    assert.deepEqual(range, { from: 10, to: 11 })
    breaker.settle({ from: 10, to: 11 }, [A])
    assert.deepEqual([breaker.takesDetour(A), breaker.takesDetour(B)], [true, false])
    breaker.settle({ from: 10, to: 10 }, [])
    assert.equal(breaker.state(), 'closed')
  })

  it('does not take a row written after the look for fanned out', () => {
    breaker.trip()
    detour(A, 10)
    answerFor(5_000)
    detour(A, 12)
    breaker.settle({ from: 10, to: 10 }, [])
    assert.equal(breaker.takesDetour(A), true)
    breaker.beginDetour(A)
    breaker.settle({ from: 10, to: 12 }, [])
    assert.equal(breaker.takesDetour(A), true)
  })

  it('waits longer before each return to a broker that trips it again at once', () => {
    breaker.trip()
    answerFor(5_000)
    assert.equal(breaker.state(), 'closed')
    breaker.trip()
    answerFor(5_000)
    assert.equal(breaker.state(), 'open')
    nowMs += 5_000
    breaker.probed(true)
    assert.equal(breaker.state(), 'closed')
  })
})
