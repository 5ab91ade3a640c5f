import assert from 'node:assert/strict'
import { createMissedObjectivesProbe, type LaneRange } from '../../src/alerts/missed-objectives.js'
import { LANES } from '../../src/secevent/event.js'

describe('alerts: a look for missed objectives', () => {
  it('leaves slow counting for the next look after five seconds, and goes on where it was', async () => {
    const nowMs = Date.UTC(2026, 10, 22)
    let uptimeMs = 0
    const counted: LaneRange[] = []
    const probe = createMissedObjectivesProbe({
      async count({ ranges }) {
        uptimeMs += 3_000
        counted.push(ranges[0] as LaneRange)
        return []
      },
      lag: async () => LANES.map((lane) => ({ lane, oldestAgeS: 0 })),
      objectiveMs: 10_000,
      windowMs: 5 * 60_000,
      clock: { now: () => nowMs, monotonicMs: () => uptimeMs },
    })
    for (const slices of [2, 4]) {
      await assert.rejects(probe.look(), /still being counted/)
      assert.equal(counted.length, slices)
    }
    assert.deepEqual(await probe.look(), [])
    assert.equal(counted.length, 5)
    counted.slice(1).forEach(({ fromMs }, index) => void assert.equal(fromMs, counted[index]?.toMs))
  })
})
