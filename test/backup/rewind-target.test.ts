import assert from 'node:assert/strict'
import { rewindToBackup, rewindToTime } from '../../src/backup/rewind-target.js'

const NOW = Date.parse('2026-01-31T10:00:00Z')
const BOUNDS = { nowMs: NOW, oldestMs: NOW - 14 * 86_400_000 }

describe('how far a log goes back', () => {
  it('is a time that was, and from which records are believed', () => {
    const { target } = rewindToTime('2026-01-31T09:00:00Z', BOUNDS)
    assert.deepEqual(target, { timeMs: NOW - 3_600_000 })
    assert.throws(() => rewindToTime('2026-01-31T10:00:01Z', BOUNDS), /goes back only/)
    assert.throws(() => rewindToTime('2026-01-17T09:59:59Z', BOUNDS), /before 2026-01-17T10:00:00\.000Z/)
  })

  it('is where the backup had been, and as far as records are believed when that is not known', () => {
    const madeAt = new Date(NOW)
    const logPositions = [{ lane: 'urgent', partitions: [{ partition: 3, offset: '17' }] }]
    assert.deepEqual(rewindToBackup({ madeAt, logPositions }, BOUNDS).target, { positions: logPositions })
    assert.deepEqual(rewindToBackup({ madeAt, logPositions: null }, BOUNDS), {
      target: { timeMs: BOUNDS.oldestMs },
      told: { to: '2026-01-17T10:00:00.000Z' },
    })
    assert.throws(() => rewindToBackup(undefined, BOUNDS), /was not restored/)
  })
})
