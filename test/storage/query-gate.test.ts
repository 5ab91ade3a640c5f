import assert from 'node:assert/strict'
import { TooManyRequests, Unavailable } from '../../src/kernel/errors.js'
import { createQueryGate, type QueryGate } from '../../src/storage/query-gate.js'

/** A query that ends when told to. */
function heldQuery(gate: QueryGate, caller: string) {
  let end: () => void = () => {}
  let started = false
  const done = gate.run(caller, () => {
    started = true
    return new Promise<string>((resolve) => {
      end = () => resolve(caller)
    })
  })
  done.catch(() => {})
  return { done, end: () => end(), hasStarted: () => started }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('storage: query gate', () => {
  it('runs so many at once, and the others in turn', async () => {
    const gate = createQueryGate({ atOnce: 2 })
    const [a, b, c] = ['x', 'y', 'z'].map((caller) => heldQuery(gate, caller))
    await settle()
    assert.deepEqual(
      [a, b, c].map((each) => each?.hasStarted()),
      [true, true, false],
    )
    a?.end()
    assert.equal(await a?.done, 'x')
    await settle()
    assert.equal(c?.hasStarted(), true)
  })

  it('leaves one caller all places but one, so that another gets its answer', async () => {
    const gate = createQueryGate({ atOnce: 3 })
    const own = [1, 2, 3].map(() => heldQuery(gate, 'greedy'))
    const other = heldQuery(gate, 'other')
    await settle()
    assert.deepEqual(
      own.map((each) => each.hasStarted()),
      [true, true, false],
    )
    assert.equal(other.hasStarted(), true)
    other.end()
    await other.done
    assert.equal(own[2]?.hasStarted(), false)
    own[0]?.end()
    await own[0]?.done
    await settle()
    assert.equal(own[2]?.hasStarted(), true)
  })

  it('gives its place back when a query fails', async () => {
    const gate = createQueryGate({ atOnce: 1 })
    await assert.rejects(
      gate.run('a', () => Promise.reject(new Error('broken'))),
      /broken/,
    )
    assert.equal(await gate.run('a', async () => 'in'), 'in')
  })

  it('says 429 to a caller with too many waiting, and 503 when all wait', async () => {
    const gate = createQueryGate({ atOnce: 1, maxWaiting: 4 })
    const first = heldQuery(gate, 'a')
    const waiting = [heldQuery(gate, 'a'), heldQuery(gate, 'a')]
    await assert.rejects(
      heldQuery(gate, 'a').done,
      (error) => error instanceof TooManyRequests && error.retryAfterS === 2,
    )
    waiting.push(heldQuery(gate, 'b'), heldQuery(gate, 'b'))
    await assert.rejects(
      heldQuery(gate, 'c').done,
      (error) => error instanceof Unavailable && error.retryAfterS === 2,
    )
    for (const each of [first, ...waiting]) {
      await settle()
      each.end()
      await each.done
    }
  })

  it('says 503 when no place comes free in time, and starts nothing afterwards', async () => {
    const gate = createQueryGate({ atOnce: 1, maxWaitMs: 20 })
    const first = heldQuery(gate, 'a')
    const late = heldQuery(gate, 'b')
    await assert.rejects(late.done, Unavailable)
    first.end()
    await first.done
    await settle()
    assert.equal(late.hasStarted(), false)
    assert.equal(await gate.run('b', async () => 'in'), 'in')
  })
})
