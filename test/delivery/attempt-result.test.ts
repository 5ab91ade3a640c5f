import assert from 'node:assert/strict'
import { answeredResult, failedResult, NOT_GRANTED, unsentResult } from '../../src/delivery/attempt-result.js'
import type { OpenDelivery } from '../../src/delivery/open-delivery.js'

const NOW = 1_000_000
const SENT = NOW - 40
const LEASE = { unit: 7, epoch: 3, endsAtMonotonicMs: Number.POSITIVE_INFINITY }
const FRAME = {
  streamId: 's',
  lane: 'urgent',
  eventId: 'e',
  shard: 7,
  epoch: 3,
  receivedAtMs: null,
  nextAttemptAtMs: undefined,
  code: undefined,
  failure: undefined,
}

const item = (change: Partial<OpenDelivery> = {}): OpenDelivery => ({
  streamId: 's',
  eventId: 'e',
  receiverId: 'r',
  shard: 7,
  lane: 'urgent',
  type: 't',
  effect: 'tightens',
  sourceId: 'source',
  txn: 'x',
  orderKey: 'k',
  acceptedAtMs: 0,
  rendering: 1,
  attempts: 0,
  queuedAtMs: NOW - 1_000,
  ...change,
})

const ended = (change: Partial<OpenDelivery> = {}) => ({
  item: item(change),
  lease: LEASE,
  sentAtMs: SENT,
  nowMs: NOW,
})

const answered503 = { class: 'failed', failure: 'server_error', reason: 'answered 503' } as const
const unreached = { class: 'failed', failure: 'connect', reason: 'connection refused' } as const

describe('what is written about an attempt', () => {
  it('is received with both times when the endpoint took it', () => {
    assert.deepEqual(answeredResult(ended({ attempts: 2 }), { class: 'received' }), {
      ...FRAME,
      attempts: 3,
      outcome: 'received',
      deliveredAtMs: SENT,
      receivedAtMs: NOW,
    })
  })

  it('is parked with the receiver’s words when it refused', () => {
    const outcome = { class: 'rejected', code: 'invalid_key', reason: 'invalid_key: no' } as const
    assert.deepEqual(answeredResult(ended(), outcome), {
      ...FRAME,
      attempts: 1,
      outcome: 'park',
      code: 'invalid_key',
      failure: 'invalid_key: no',
      deliveredAtMs: SENT,
    })
  })

  it('has no attempt more when nothing was sent, and a reason only when discarded', () => {
    const row = { item: item({ attempts: 4 }), lease: LEASE }
    const unsent = { ...FRAME, attempts: 4, deliveredAtMs: null }
    assert.deepEqual(unsentResult({ ...row, outcome: 'superseded' }), { ...unsent, outcome: 'superseded' })
    assert.deepEqual(unsentResult({ ...row, outcome: 'discarded' }), {
      ...unsent,
      outcome: 'discarded',
      failure: NOT_GRANTED,
    })
    assert.deepEqual(unsentResult({ ...row, outcome: 'discarded', failure: 'no form' }), {
      ...unsent,
      outcome: 'discarded',
      failure: 'no form',
    })
    assert.equal(NOT_GRANTED, 'the receiver is no longer granted this event')
  })

  it('is another try when the endpoint failed, delivered only if it answered', () => {
    const { nextAttemptAtMs, ...result } = failedResult(ended({ attempts: 1 }), answered503, false)
    const failed = { ...FRAME, attempts: 2, outcome: 'retry', failure: 'server_error: answered 503' }
    assert.deepEqual({ ...result, nextAttemptAtMs: undefined }, { ...failed, deliveredAtMs: SENT })
    // The second wait is half a second, give or take a fifth.
    const waitMs = (nextAttemptAtMs ?? 0) - NOW
    assert.ok(waitMs >= 400 && waitMs <= 600, String(waitMs))
    const silent = failedResult(ended(), unreached, false)
    assert.deepEqual([silent.deliveredAtMs, silent.failure], [null, 'connect: connection refused'])
  })

  it('waits longer for routine SETs, and at least as long as the endpoint asks', () => {
    const waitOf = (lane: OpenDelivery['lane'], retryAfterMs?: number) => {
      const outcome = retryAfterMs === undefined ? answered503 : { ...answered503, retryAfterMs }
      return (failedResult(ended({ lane }), outcome, false).nextAttemptAtMs ?? 0) - NOW
    }
    for (const lane of ['control', 'urgent'] as const) assert.ok(waitOf(lane) <= 240, lane)
    assert.ok(waitOf('routine') >= 800)
    assert.equal(waitOf('urgent', 7_000), 7_000)
    assert.ok(waitOf('urgent', 1) >= 160)
  })

  it('is parked with the reason of its last attempt and no further try when it is hopeless', () => {
    assert.deepEqual(failedResult(ended({ attempts: 9 }), answered503, true), {
      ...FRAME,
      attempts: 10,
      outcome: 'park',
      code: 'keeps_failing',
      failure: 'server_error: answered 503',
      deliveredAtMs: SENT,
    })
  })
})
