import assert from 'node:assert/strict'
import { createPeriodicWorker, type PeriodicWorker } from '../../src/kernel/periodic-worker.js'
import { waitUntil } from '../support/wait.js'

const NEVER_MS = 1_000_000

describe('a periodic worker', () => {
  let worker: PeriodicWorker
  let logged: unknown[]
  beforeEach(() => {
    logged = []
  })
  afterEach(() => worker.stop())

  function create(options: { everyMs: number; lastRound?: boolean; round(): Promise<unknown> }) {
    worker = createPeriodicWorker({
      name: 'counter',
      failed: { event: 'counter.failed', says: 'nothing is counted' },
      logger: { warn: (event, fields) => void logged.push([event, fields]) },
      ...options,
    })
    return worker
  }

  it('begins with a round and goes on with one each period', async () => {
    let rounds = 0
    await create({ everyMs: 1, round: async () => ++rounds }).start()
    await waitUntil('three rounds', () => rounds >= 3)
  })

  it('begins the next round at once when it is rung', async () => {
    let rounds = 0
    await create({ everyMs: NEVER_MS, round: async () => ++rounds }).start()
    await waitUntil('the first round', () => rounds === 1)
    worker.ring()
    await waitUntil('the second round', () => rounds === 2)
  })

  it('tells why rounds fail, goes on, and says so no more once one succeeds', async () => {
    let isBroken = true
    const round = async () => {
      if (isBroken) throw new Error('no database')
    }
    await create({ everyMs: NEVER_MS, round }).start()
    await waitUntil('a failed round', () => logged.length === 1)
    assert.deepEqual(logged, [['counter.failed', { reason: 'no database' }]])
    assert.deepEqual(worker.health(), { ok: true, reason: 'nothing is counted: no database' })
    isBroken = false
    worker.ring()
    await waitUntil('a round that succeeds', () => worker.health().reason === undefined)
  })

  it('ends after the round under way, or after a last one where that is asked for', async () => {
    for (const lastRound of [false, true]) {
      let rounds = 0
      await create({ everyMs: NEVER_MS, lastRound, round: async () => ++rounds }).start()
      await worker.stop()
      assert.equal(rounds, lastRound ? 2 : 1)
    }
  })
})
