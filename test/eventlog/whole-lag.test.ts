import assert from 'node:assert/strict'
import type { LogLag } from '../../src/eventlog/event-log.js'
import { readWholeLag } from '../../src/eventlog/whole-lag.js'

describe('the whole lag of the event log', () => {
  const lags: LogLag[] = [{ lane: 'urgent', records: 2, oldestAgeS: 3 }]

  it('is what the log tells', async () => {
    assert.deepEqual(await readWholeLag({ lag: async () => lags }), lags)
  })

  it('is not none while nobody knows what Kafka holds', async () => {
    const partial = lags.map((lag) => ({ ...lag, isPartial: true as const }))
    await assert.rejects(readWholeLag({ lag: async () => partial }), { code: 'ERR_LOG_UNAVAILABLE' })
  })
})
