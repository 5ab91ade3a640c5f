import assert from 'node:assert/strict'
import { LogUnavailable } from '../../src/eventlog/event-log.js'
import { SenderNotAuthenticated, SenderTooSlow } from '../../src/ingest/ingest-answers.js'
import type { IngestedSet } from '../../src/ingest/set-ingest.js'
import { createSetObserver } from '../../src/ingest/set-observer.js'
import { NotFound, TooManyRequests, Unavailable } from '../../src/kernel/errors.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { KeysUnavailable } from '../../src/secevent/verify-set.js'
import { listLogger, manualClock, TRANSMITTER_ID } from './ingest-fixture.js'

const EVENT = { eventId: 'e1', txn: 'cause-1', sourceJti: 'j1', lane: 'urgent' }

function ingested(more: { quarantine?: string; overBudget?: boolean } = {}): IngestedSet {
  const { overBudget = false, ...verified } = more
  const set = { event: EVENT, verified: { tolerated: [], ignoredHeaders: [], ...verified }, overBudget }
  return set as unknown as IngestedSet
}

describe('ingest: what operators see of SETs', () => {
  /** Runs one observation 250 ms after the SET came. @returns the lines of the log, and the metrics that count it */
  async function observed(observe: (observer: ReturnType<typeof createSetObserver>) => void) {
    const clock = manualClock()
    const metrics = createMetrics()
    const { lines, logger } = listLogger()
    const observer = createSetObserver({ clock, logger, metrics })
    clock.advance(250)
    observe(observer)
    const text = await metrics.render()
    const samples = text.split('\n').filter((line) => /^firebreak_(sets_total|ingest_seconds_sum)/.test(line))
    return { lines, samples }
  }
  const about = (id = TRANSMITTER_ID) => ({ id, beganMs: manualClock().monotonicMs() })
  const samplesOf = (outcome: string, reason: string) => [
    `firebreak_sets_total{outcome="${outcome}",reason="${reason}"} 1`,
    `firebreak_ingest_seconds_sum{outcome="${outcome}"} 0.25`,
  ]

  const FIELDS = {
    transmitter_id: TRANSMITTER_ID,
    event_id: 'e1',
    txn: 'cause-1',
    jti: 'j1',
    lane: 'urgent',
    duration_ms: 250,
  }
  const TAKEN: [title: string, given: IngestedSet, sample: [string, string], line: object][] = [
    ['taken', ingested(), ['accepted', ''], { level: 'debug', event: 'set.accepted', fields: FIELDS }],
    [
      'taken past the bound of its source',
      ingested({ overBudget: true }),
      ['accepted', 'over_budget'],
      { level: 'debug', event: 'set.accepted', fields: FIELDS },
    ],
    [
      'set aside',
      ingested({ quarantine: 'unknown_type', overBudget: true }),
      ['quarantined', 'unknown_type'],
      { level: 'warn', event: 'set.quarantined', fields: { ...FIELDS, reason: 'unknown_type' } },
    ],
  ]
  for (const [title, given, sample, line] of TAKEN) {
    it(`counts a SET that was ${title}, with its time, and writes one line`, async () => {
      const { samples, lines } = await observed((observer) => observer.accepted(about(), given))
      assert.deepEqual(samples, samplesOf(...sample))
      assert.deepEqual(lines, [line])
    })
  }

  const NOT_TAKEN: [error: unknown, outcome: string, reason: string][] = [
    [new SetRejected('invalid_issuer', 'No.'), 'rejected', 'invalid_issuer'],
    [new SetRejected('invalid_request', 'No.', { tooLarge: true }), 'rejected', 'too_large'],
    [new SenderNotAuthenticated('No.'), 'rejected', 'sender_not_authenticated'],
    [new NotFound('No.'), 'rejected', 'not_found'],
    [new SenderTooSlow(), 'deferred', 'too_slow'],
    [new TooManyRequests('Later.', { retryAfterS: 1 }), 'deferred', 'too_many_requests'],
    [new KeysUnavailable('Later.'), 'deferred', 'keys_unavailable'],
    [new LogUnavailable('Later.'), 'deferred', 'log_unavailable'],
    [new Unavailable('Later.'), 'deferred', 'unavailable'],
    [new TypeError('x is no function'), 'failed', 'internal'],
    ['text', 'failed', 'internal'],
  ]
  for (const [error, outcome, reason] of NOT_TAKEN) {
    it(`counts ${error instanceof Error ? error.name : 'thrown text'} as ${outcome}, ${reason}`, async () => {
      const { samples, lines } = await observed((observer) => observer.failed(about(), error))
      assert.deepEqual(samples, samplesOf(outcome, reason))
      const [line] = lines
      const isFailure = outcome === 'failed'
      assert.equal(line?.level, isFailure ? 'error' : 'info')
      assert.equal(line?.event, isFailure ? 'ingest.failed' : `set.${outcome}`)
      const { description, ...fields } = line?.fields ?? {}
      assert.deepEqual(fields, { transmitter_id: TRANSMITTER_ID, reason, duration_ms: 250 })
      assert.equal(description, error instanceof Error ? error.message : error)
    })
  }

  it('names no transmitter where the address holds other text', async () => {
    const { lines } = await observed((observer) => observer.failed(about('x\ny'), new NotFound('No.')))
    assert.ok(!('transmitter_id' in (lines[0]?.fields ?? {})))
  })
})
