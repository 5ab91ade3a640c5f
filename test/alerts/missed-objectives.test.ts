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

  it('is made later of all that came due since the first one, when nobody knew the lag until then', async () => {
    const beganMs = Date.UTC(2026, 10, 22)
    let nowMs = beganMs
    let isKnown = false
    const counted: LaneRange[] = []
    const probe = createMissedObjectivesProbe({
      async count({ ranges }) {
        counted.push(...(ranges as LaneRange[]))
        return [{ streamId: 's1', lane: 'urgent', receiver: 'gw', stage: 'received', count: 1 }]
      },
      async lag() {
        if (!isKnown) throw new Error('Kafka has not told yet what waits in it; try again.')
        return LANES.map((lane) => ({ lane, oldestAgeS: 0 }))
      },
      objectiveMs: 10_000,
      windowMs: 5 * 60_000,
      clock: { now: () => nowMs, monotonicMs: () => 0 },
    })
    await assert.rejects(probe.look(), /has not told/)
    assert.equal(counted.length, 0)
    nowMs += 3_600_000
    isKnown = true
    for (let look = 0; look < 6; look += 1) await assert.rejects(probe.look(), /still being counted/)
    assert.equal((await probe.look()).length, 1)
    for (const lane of LANES) {
      const own = counted.filter((range) => range.lane === lane)
      assert.equal(own[0]?.fromMs, beganMs - 12_000 - 5 * 60_000)
      assert.equal(own.at(-1)?.toMs, nowMs - 12_000)
    }
  })
})
