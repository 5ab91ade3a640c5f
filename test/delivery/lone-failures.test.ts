import assert from 'node:assert/strict'
import { createLoneFailures, type LoneFailures } from '../../src/delivery/lone-failures.js'

const START = 1_000_000

/** Fails so many times, every 20 s, and another gets through before each but the first. */
function failAlone(lone: LoneFailures, eventId: string, times: number, everyMs = 20_000): boolean[] {
  return Array.from({ length: times }, (_, index) => {
    if (index > 0) lone.received(`other ${index}`)
    return lone.failed(eventId, START + index * everyMs)
  })
}

describe('a SET that keeps failing while others get through', () => {
  it('is hopeless at its fifth failure with another SET received before each', () => {
    assert.deepEqual(failAlone(createLoneFailures(), 'a', 6), [false, false, false, false, false, true])
  })

  it('is not before a minute has passed since the first of them', () => {
    assert.deepEqual(failAlone(createLoneFailures(), 'a', 10, 1_000), Array(10).fill(false))
    const lone = createLoneFailures()
    failAlone(lone, 'a', 10, 1_000)
    lone.received('other')
    assert.equal(lone.failed('a', START + 60_999), false)
    lone.received('other')
    assert.equal(lone.failed('a', START + 61_000), true)
  })

  it('has nothing against it from an outage, however long, nor from the first success after it', () => {
    const lone = createLoneFailures()
    for (let round = 0; round < 900; round += 1) {
      assert.equal(lone.failed('a', START + round * 4_000), false)
      assert.equal(lone.failed('b', START + round * 4_000), false)
    }
    lone.received('a')
    assert.equal(lone.failed('b', START + 3_600_000), false, 'a cold backend')
    assert.equal(lone.failed('b', START + 3_700_000), false, 'and nothing got through since')
  })

  it('begins anew once it was received, parked or is no longer sent, and when the SETs go elsewhere', () => {
    for (const over of ['received', 'forget', 'clear'] as const) {
      const lone = createLoneFailures()
      failAlone(lone, 'a', 5)
      if (over === 'clear') lone.clear()
      else lone[over]('a')
      lone.received('other')
      assert.equal(lone.failed('a', START + 300_000), false, over)
    }
  })

  it('forgets the oldest of a thousand, and never parks it for that', () => {
    const lone = createLoneFailures()
    failAlone(lone, 'a', 5)
    for (let index = 0; index < 1_000; index += 1) lone.failed(`x${index}`, START)
    lone.received('other')
    assert.equal(lone.failed('a', START + 300_000), false)
  })
})
