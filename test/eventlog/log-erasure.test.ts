import assert from 'node:assert/strict'
import type { LogLag } from '../../src/eventlog/event-log.js'
import { isDrained } from '../../src/eventlog/log-erasure.js'

const lag = (records: number, oldestAgeS: number): LogLag => ({ lane: 'urgent', records, oldestAgeS })

describe('the event log before an erasure', () => {
  const ask = (sinceS: number, ...lags: LogLag[]) => isDrained({ lag: async () => lags }, sinceS)

  it('is drained when it holds nothing, or nothing as old as the request', async () => {
    assert.equal(await ask(0, lag(0, 0)), true)
    assert.equal(await ask(60, lag(9, 5)), true)
  })

  it('is not drained while one lane holds a record of before the request, or of the same second', async () => {
    assert.equal(await ask(60, lag(0, 0), lag(1, 61)), false)
    assert.equal(await ask(60, lag(1, 59.5)), false)
    assert.equal(await ask(0.2, lag(1, 0)), false)
  })

  it('is not drained while nobody knows what Kafka holds', async () => {
    assert.equal(await ask(60, { ...lag(0, 0), isPartial: true }), false)
  })

  it('says nothing while the log cannot be asked', async () => {
    await assert.rejects(
      isDrained({ lag: () => Promise.reject(new Error('Kafka has not answered yet.')) }, 60),
      /Kafka/,
    )
  })
})
