import assert from 'node:assert/strict'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import { manualClock } from './ingest-fixture.js'

describe('ingest: budgets of sources', () => {
  /** What `times` SETs in a row are told, as counts in order: `20 within, 80 over`. */
  function takeAll(budgets: ReturnType<typeof createSourceBudgets>, times: number): string {
    const runs: [state: string, count: number][] = []
    for (let index = 0; index < times; index += 1) {
      const state = budgets.take('s1', 10)
      const last = runs.at(-1)
      if (last?.[0] === state) last[1] += 1
      else runs.push([state, 1])
    }
    return runs.map(([state, count]) => `${count} ${state}`).join(', ')
  }

  it('take bursts of two seconds in their lane, and five times as much in all', () => {
    assert.equal(takeAll(createSourceBudgets(manualClock()), 101), '20 within, 80 over, 1 spent')
  })

  it('fill again with time, each at its own rate', () => {
    const clock = manualClock()
    const budgets = createSourceBudgets(clock)
    takeAll(budgets, 101)
    clock.advance(500)
    assert.equal(takeAll(budgets, 26), '5 within, 20 over, 1 spent')
    // A fifth of a SET of the second bound is not one; what is left of it counts later.
    clock.advance(19)
    assert.equal(takeAll(budgets, 1), '1 spent')
    clock.advance(1)
    assert.equal(takeAll(budgets, 2), '1 over, 1 spent')
  })

  it('fill no further than they were at first', () => {
    const clock = manualClock()
    const budgets = createSourceBudgets(clock)
    takeAll(budgets, 1)
    clock.advance(3_600_000)
    assert.equal(takeAll(budgets, 101), '20 within, 80 over, 1 spent')
  })

  it('have room within the second that a source is told to wait', () => {
    const clock = manualClock()
    const budgets = createSourceBudgets(clock)
    for (let index = 0; index < 10; index += 1) assert.notEqual(budgets.take('s1', 1), 'spent')
    assert.equal(budgets.take('s1', 1), 'spent')
    clock.advance(1_000)
    assert.equal(budgets.take('s1', 1), 'within')
  })

  it('have what was given back, of both bounds or of the second one', () => {
    const budgets = createSourceBudgets(manualClock())
    for (let index = 0; index < 5; index += 1) budgets.giveBack('s1', budgets.take('s1', 10))
    assert.equal(takeAll(budgets, 20), '20 within')
    budgets.giveBack('s1', budgets.take('s1', 10))
    assert.equal(takeAll(budgets, 81), '80 over, 1 spent')
    budgets.giveBack('s1', 'spent')
    assert.equal(takeAll(budgets, 1), '1 spent')
  })

  it('are of one source each', () => {
    const budgets = createSourceBudgets(manualClock())
    takeAll(budgets, 101)
    assert.equal(budgets.take('s2', 10), 'within')
  })
})
