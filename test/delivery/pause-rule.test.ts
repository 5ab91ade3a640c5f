import assert from 'node:assert/strict'
import type { Failing } from '../../src/delivery/endpoint-health.js'
import { FAILURE_CLASSES, type FailureClass, traitsOf } from '../../src/delivery/failure-class.js'
import { pauseReason } from '../../src/delivery/pause-rule.js'

const NOW = Date.parse('2026-03-02T10:00:00Z')
const DAY_MS = 86_400_000
const MINUTE_MS = 60_000

const failing = (failure: FailureClass, sinceMs: number, failureSinceMs = sinceMs): Failing => ({
  failure,
  reason: `answered as ${failure}`,
  sinceMs,
  failureSinceMs,
  failures: 100,
  lastFailedAtMs: NOW,
  nextProbeAtMs: NOW + 4_000,
  isAgreed: true,
})
const reasonFor = (state: Failing) => pauseReason(state, NOW, DAY_MS)

describe('when the hub pauses a failing stream', () => {
  it('is at once when the endpoint says that it is gone', () => {
    assert.match(reasonFor(failing('gone', NOW)) ?? '', /gone \(answered as gone\)/)
  })

  it('is not at once while one SET alone is answered so', () => {
    assert.equal(reasonFor({ ...failing('gone', NOW), isAgreed: false }), undefined)
    assert.match(
      reasonFor({ ...failing('gone', NOW - DAY_MS), isAgreed: false }) ?? '',
      /has taken no event since/,
    )
  })

  it('is after five minutes of refused authorization and nothing else', () => {
    assert.equal(reasonFor(failing('unauthorized', NOW - 5 * MINUTE_MS + 1)), undefined)
    assert.equal(reasonFor(failing('unauthorized', NOW - 60 * MINUTE_MS, NOW - MINUTE_MS)), undefined)
    const reason = reasonFor(failing('unauthorized', NOW - 5 * MINUTE_MS)) ?? ''
    assert.match(reason, /authorization_header since 2026-03-02T09:55:00.000Z/)
  })

  it('is for all others after the time that the operator set, whatever they were', () => {
    for (const failure of FAILURE_CLASSES) {
      const { pauses } = traitsOf(failure)
      if (pauses === 'at_once' || pauses === 'never') continue
      const early = reasonFor(failing(failure, NOW - DAY_MS + 1, NOW))
      assert.equal(early, undefined, failure)
      assert.match(reasonFor(failing(failure, NOW - DAY_MS, NOW)) ?? '', /since 2026-03-01T10:00/, failure)
    }
  })

  it('is never for what the hub itself cannot do', () => {
    assert.equal(reasonFor(failing('internal', 0)), undefined)
  })

  it('tells the receiver nothing of the way to its endpoint', () => {
    for (const failure of FAILURE_CLASSES) {
      if (traitsOf(failure).answered) continue
      const reason = reasonFor(failing(failure, NOW - DAY_MS)) ?? ''
      assert.doesNotMatch(reason, new RegExp(`answered as|\\b${failure}\\b`), failure)
    }
  })
})
