import assert from 'node:assert/strict'
import { createEndpointHealth, type EndpointHealth } from '../../src/delivery/endpoint-health.js'
import { FAILURE_CLASSES, type FailureClass, traitsOf } from '../../src/delivery/failure-class.js'

const START = 1_000_000

function fail(
  endpoint: EndpointHealth,
  failure: FailureClass,
  atMs: number,
  retryAfterMs = 0,
  eventId = 'e',
): boolean {
  const reason = `was ${failure}`
  return endpoint.fail({ eventId, sentAtMs: atMs - 1, nowMs: atMs, failure, reason, retryAfterMs })
}

describe('an endpoint’s breaker', () => {
  for (const failure of FAILURE_CLASSES) {
    const { restsAfter } = traitsOf(failure)
    it(`opens at failure ${restsAfter} of class ${failure}`, () => {
      const endpoint = createEndpointHealth()
      for (let count = 1; count <= 3; count += 1) {
        assert.equal(endpoint.isDown(), count > restsAfter)
        fail(endpoint, failure, START + count)
      }
      assert.equal(endpoint.isDown(), true)
    })
  }

  it('rests from once the endpoint asks for it, for as long', () => {
    const endpoint = createEndpointHealth()
    fail(endpoint, 'server_error', START, 20_000)
    assert.equal(endpoint.isDown(), true)
    assert.equal(endpoint.restUntilMs(), START + 20_000)
  })

  it('probes soon, and never rests longer than the class allows', () => {
    for (const failure of ['connect', 'unauthorized'] as const) {
      const endpoint = createEndpointHealth()
      let now = START
      const rests: number[] = []
      for (let round = 0; round < 40; round += 1) {
        fail(endpoint, failure, now)
        if (endpoint.isDown()) rests.push(endpoint.restUntilMs() - now)
        now = Math.max(now + 10, endpoint.restUntilMs() + 10)
      }
      assert.ok((rests[0] ?? 0) <= 240, String(rests[0]))
      assert.equal(Math.round(Math.max(...rests)), traitsOf(failure).restMs)
    }
    assert.deepEqual([traitsOf('connect').restMs, traitsOf('unauthorized').restMs], [4_000, 30_000])
  })

  it('takes a burst that was under way for one round of failures', () => {
    const endpoint = createEndpointHealth()
    const sentAtMs = START
    const attempt = { eventId: 'e', sentAtMs, failure: 'connect', reason: 'r', retryAfterMs: 0 } as const
    assert.equal(endpoint.fail({ ...attempt, nowMs: START + 5 }), true)
    assert.equal(endpoint.fail({ ...attempt, nowMs: START + 6 }), false)
    assert.equal(endpoint.failing()?.failures, 1)
  })

  it('knows since when it has failed, and since when in this way alone', () => {
    const endpoint = createEndpointHealth()
    assert.equal(endpoint.failing(), undefined)
    fail(endpoint, 'timeout', START)
    fail(endpoint, 'unauthorized', START + 10_000)
    fail(endpoint, 'unauthorized', START + 20_000)
    assert.deepEqual(endpoint.failing(), {
      failure: 'unauthorized',
      reason: 'was unauthorized',
      sinceMs: START,
      failureSinceMs: START + 10_000,
      failures: 3,
      lastFailedAtMs: START + 20_000,
      nextProbeAtMs: endpoint.restUntilMs(),
      isAgreed: false,
    })
    assert.equal(endpoint.succeed(START + 21_000), true)
    assert.equal(endpoint.failing(), undefined)
    assert.equal(endpoint.isDown(), false)
    assert.equal(endpoint.succeed(START + 22_000), false, 'once')
  })

  it('is agreed on by two SETs that meet the same class, unless another was taken in the last minute', () => {
    const agreed = (...attempts: [eventId: string, failure: FailureClass, atMs: number][]) => {
      const endpoint = createEndpointHealth()
      endpoint.succeed(START)
      for (const [eventId, failure, atMs] of attempts) fail(endpoint, failure, START + atMs, 0, eventId)
      return endpoint.failing()?.isAgreed
    }
    assert.equal(agreed(['a', 'gone', 60_000], ['b', 'gone', 60_000]), true, 'two probes')
    assert.equal(agreed(['a', 'gone', 60_000], ['b', 'gone', 60_500]), true)
    assert.equal(agreed(['a', 'gone', 60_000], ['a', 'gone', 60_500]), false, 'one SET')
    assert.equal(agreed(['a', 'connect', 60_000], ['b', 'gone', 60_500]), false, 'another class')
    assert.equal(agreed(['a', 'gone', 59_000], ['b', 'gone', 59_999]), false, 'taken lately')
  })

  it('counts no time in which nothing is known of the endpoint', () => {
    const HOUR = 3_600_000
    const endpoint = createEndpointHealth()
    /** Every ten minutes, so that no gap begins it anew. */
    const failFor = (failure: FailureClass, fromHour: number, toHour: number) => {
      for (let at = fromHour * HOUR; at <= toHour * HOUR; at += HOUR / 6) fail(endpoint, failure, START + at)
    }
    failFor('proxy', 0, 25)
    fail(endpoint, 'connect', START + 25 * HOUR + 1)
    assert.equal(endpoint.failing()?.sinceMs, START + 25 * HOUR, 'not begun by it')
    failFor('connect', 25, 35)
    failFor('proxy', 35.1, 40)
    failFor('internal', 40.1, 45)
    fail(endpoint, 'connect', START + 45.1 * HOUR)
    const failedMs = START + 45.1 * HOUR - (endpoint.failing()?.sinceMs ?? 0)
    assert.ok(failedMs > 9.9 * HOUR && failedMs < 10.4 * HOUR, `${failedMs / HOUR} h`)
    for (let minute = 0; minute < 600; minute += 5) {
      fail(endpoint, 'connect', START + 45.2 * HOUR + minute * 60_000)
      fail(endpoint, 'internal', START + 45.2 * HOUR + minute * 60_000 + 10)
    }
    fail(endpoint, 'connect', START + 55.2 * HOUR)
    const nowMs = START + 55.2 * HOUR - (endpoint.failing()?.sinceMs ?? 0)
    assert.ok(nowMs > failedMs + 9.9 * HOUR, 'not ended by it')
  })

  it('counts anew after a time in which nothing was tried', () => {
    const endpoint = createEndpointHealth()
    fail(endpoint, 'connect', START)
    fail(endpoint, 'connect', START + 900_000)
    assert.equal(endpoint.failing()?.sinceMs, START)
    fail(endpoint, 'connect', START + 1_800_001)
    assert.deepEqual(
      [endpoint.failing()?.sinceMs, endpoint.failing()?.failureSinceMs, endpoint.failing()?.failures],
      [START + 1_800_001, START + 1_800_001, 1],
    )
  })

  it('goes on where another process left off: with a probe, and the time that has passed', () => {
    const known = {
      failure: 'connect',
      reason: 'ECONNREFUSED',
      sinceMs: START - 3_600_000,
      failureSinceMs: START - 60_000,
      failures: 900,
      lastFailedAtMs: START - 4_000,
      nextProbeAtMs: START,
      isAgreed: false,
    } as const
    const endpoint = createEndpointHealth()
    endpoint.resume(known, undefined)
    assert.equal(endpoint.isDown(), true)
    assert.ok(endpoint.restUntilMs() <= START, 'at once')
    fail(endpoint, 'connect', START)
    assert.equal(endpoint.failing()?.sinceMs, START - 3_600_000)
    assert.equal(endpoint.failing()?.failureSinceMs, START - 60_000)
    assert.equal(endpoint.failing()?.failures, 901)
    assert.equal(endpoint.succeed(START + 1), true)

    const paused = createEndpointHealth()
    paused.resume(known, 120_000)
    const restMs = paused.restUntilMs() - known.lastFailedAtMs
    assert.ok(restMs >= 96_000 && restMs <= 144_000, String(restMs))
    fail(paused, 'connect', START + 120_000)
    const nextMs = paused.restUntilMs() - (START + 120_000)
    assert.ok(nextMs >= 96_000 && nextMs <= 144_000, String(nextMs))
  })

  it('is told as recovered once it was up for three seconds, and not for each success between failures', () => {
    const endpoint = createEndpointHealth()
    endpoint.expectClearing()
    assert.equal(endpoint.isDown(), false)
    assert.equal(endpoint.succeed(START), false, 'it was not down')
    assert.equal(endpoint.settle(START + 2_999), false)
    for (let at = START + 1_000; at < START + 60_000; at += 1_000) {
      fail(endpoint, 'connect', at)
      assert.deepEqual([endpoint.isDown(), endpoint.recoversAtMs()], [true, undefined])
      assert.ok(endpoint.restUntilMs() - at <= 600, 'and rests little')
      assert.equal(endpoint.succeed(at + 600), true)
      assert.equal(endpoint.recoversAtMs(), at + 3_600)
      assert.equal(endpoint.settle(at + 999), false)
    }
    assert.equal(endpoint.succeed(START + 61_000), false)
    assert.equal(endpoint.settle(START + 62_600), true)
    assert.equal(endpoint.settle(START + 70_000), false, 'told once')
    assert.equal(endpoint.succeed(START + 70_000), false)
    assert.equal(endpoint.recoversAtMs(), undefined)
  })

  it('rests less after each success, and soon as little as ever', () => {
    const endpoint = createEndpointHealth()
    const rests: number[] = []
    for (let round = 0; round < 30; round += 1) fail(endpoint, 'connect', START + round * 5_000)
    for (let at = START + 200_000; at < START + 210_000; at += 2_000) {
      rests.push(endpoint.restUntilMs())
      endpoint.succeed(at)
      fail(endpoint, 'connect', at + 1_000)
      rests[rests.length - 1] = endpoint.restUntilMs() - (at + 1_000)
    }
    assert.ok((rests[0] ?? 0) <= 2_400, String(rests))
    assert.ok((rests.at(-1) ?? 0) <= 600, String(rests))
  })

  it('does not rest for one silent backend while others answer, but for three in a row', () => {
    const hang = (endpoint: EndpointHealth, sentAtMs: number, nowMs: number) =>
      endpoint.fail({ eventId: 'e', sentAtMs, nowMs, failure: 'timeout', reason: 'r', retryAfterMs: 0 })
    const endpoint = createEndpointHealth()
    for (let at = START; at < START + 60_000; at += 500) {
      endpoint.succeed(at)
      hang(endpoint, at - 5_000, at + 1)
      assert.equal(endpoint.isDown(), false)
    }
    endpoint.succeed(START + 60_000)
    for (let count = 1; count <= 3; count += 1) {
      hang(endpoint, START + 59_990, START + 65_000 + count)
      assert.equal(endpoint.isDown(), count === 3)
    }
    const silent = createEndpointHealth()
    silent.succeed(START)
    hang(silent, START, START + 5_000)
    assert.equal(silent.isDown(), true, 'nothing was answered since')
  })
})
