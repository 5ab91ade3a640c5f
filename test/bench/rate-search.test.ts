import assert from 'node:assert/strict'
import { confirmRate, findHighestRate } from '../../bench/rate-search.js'

/** Sustains what is within its capacity, and remembers what it was asked. */
function createFakeSystem(capacityPerS: number) {
  const tried: number[] = []
  return {
    tried,
    async sustains(ratePerS: number): Promise<boolean> {
      tried.push(ratePerS)
      return ratePerS <= capacityPerS
    },
  }
}

const SEARCH = { factor: 1.5, tolerance: 1.05, maxProbes: 20 }

describe('rate search', () => {
  for (const { startPerS, capacityPerS } of [
    { startPerS: 100, capacityPerS: 873 },
    { startPerS: 5_000, capacityPerS: 873 },
    { startPerS: 873, capacityPerS: 873 },
    { startPerS: 2, capacityPerS: 3.3 },
  ]) {
    it(`finds a capacity of ${capacityPerS} from ${startPerS}, and never answers more`, async () => {
      const system = createFakeSystem(capacityPerS)
      const found = await findHighestRate({ ...SEARCH, startPerS, sustains: system.sustains })
      assert.ok(found <= capacityPerS, `${found} was never sustained`)
      assert.ok(found >= capacityPerS / SEARCH.tolerance, `${found} is too low`)
      assert.ok(system.tried.length <= 12, `${system.tried.length} tries`)
    })
  }

  it('answers 0 when no rate holds, after the tries it was given', async () => {
    const system = createFakeSystem(0)
    const search = { ...SEARCH, startPerS: 10, maxProbes: 4, sustains: system.sustains }
    assert.equal(await findHighestRate(search), 0)
    assert.equal(system.tried.length, 4)
  })

  it('never tries the same rate twice', async () => {
    const system = createFakeSystem(431)
    await findHighestRate({ ...SEARCH, startPerS: 100, sustains: system.sustains })
    assert.equal(new Set(system.tried).size, system.tried.length)
  })
})

describe('rate confirmation', () => {
  const confirm = (capacityPerS: number, startPerS: number) => {
    const tried: number[] = []
    return confirmRate({
      startPerS,
      step: 0.9,
      maxTries: 3,
      async attempt(ratePerS) {
        tried.push(ratePerS)
        return {
          run: tried,
          held: ratePerS <= capacityPerS,
          carriedPerS: Math.min(ratePerS, capacityPerS),
        }
      },
    })
  }

  it('keeps a rate that holds at the first try', async () => {
    assert.deepEqual(await confirm(100, 90), { ratePerS: 90, run: [90], held: true })
  })

  it('falls to what was carried when that is less than a step', async () => {
    const { ratePerS, run, held } = await confirm(50, 100)
    assert.equal(held, true)
    assert.equal(ratePerS, 45)
    assert.equal(run.length, 2)
  })

  it('says so when the last try did not hold either', async () => {
    const { held, run } = await confirm(0, 100)
    assert.equal(held, false)
    assert.equal(run.length, 3)
  })
})
