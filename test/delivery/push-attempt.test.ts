import assert from 'node:assert/strict'
import type { Minter } from '../../src/delivery/minter.js'
import type { SendItem } from '../../src/delivery/open-delivery.js'
import { createPushAttempt, type PushAttemptOptions } from '../../src/delivery/push-attempt.js'
import type { StreamTarget } from '../../src/delivery/stream-target-repository.js'
import type { LogFields, Logger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'

const ITEM: SendItem = {
  streamId: 'stream',
  eventId: 'event',
  receiverId: 'receiver',
  shard: 0,
  lane: 'urgent',
  type: 'type',
  effect: 'tightens',
  sourceId: 'source',
  txn: 'txn-1',
  orderKey: 'key',
  acceptedAtMs: 0,
  rendering: 1,
  attempts: 2,
  queuedAtMs: 0,
  content: { subject: { format: 'opaque', id: 'x' }, claims: {} },
  bytes: 10,
}

const TARGET: StreamTarget = {
  streamId: 'stream',
  receiverId: 'receiver',
  shard: 0,
  version: 1,
  method: 'push',
  endpointUrl: 'https://point.example.com/events',
  authorization: undefined,
  audience: 'aud',
  alg: 'RS256',
  acceptsAny2xx: false,
  sending: true,
  noticesOnly: false,
  pausedForFailing: false,
  record: undefined,
}

type Post = PushAttemptOptions['post']
type PostRequest = Parameters<Post>[0]

function rig(options: { post?: Post; minter?: Partial<Minter>; signingMs?: number } = {}) {
  const posted: PostRequest[] = []
  const lines: [level: string, event: string, fields: LogFields][] = []
  const received: unknown[] = []
  let nowMs = 5_000.25
  const metrics = createMetrics()
  const write =
    (level: string) =>
    (event: string, fields: LogFields | (() => LogFields) = {}) =>
      void lines.push([level, event, typeof fields === 'function' ? fields() : fields])
  const logger: Logger = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  }
  const attempt = createPushAttempt({
    minter: {
      jtiOf: () => 'jti-1',
      refusalOf: () => undefined,
      mint: async () => {
        nowMs += options.signingMs ?? 0
        return 'a.b.c'
      },
      ...options.minter,
    },
    post: async (request) => {
      posted.push(request)
      nowMs += 12.34
      return options.post ? options.post(request) : { status: 202, headers: {}, body: Buffer.alloc(0) }
    },
    clock: { now: () => 1_767_225_600_000, monotonicMs: () => nowMs },
    logger,
    metrics,
    attemptTimeoutMs: 1_000,
    received: (delivery) => void received.push(delivery),
  })
  return { attempt, posted, lines, received, metrics }
}

const LINE = {
  stream_id: 'stream',
  jti: 'jti-1',
  txn: 'txn-1',
  lane: 'urgent',
  attempt: 3,
  duration_ms: 12.3,
}

describe('one push attempt (RFC 8935 §2.1)', () => {
  it('posts the SET to the endpoint within what is left of its deadline, in the pool of its lane', async () => {
    const { attempt, posted } = rig({ signingMs: 300.5 })
    assert.deepEqual(await attempt(ITEM, TARGET), { class: 'received' })
    assert.deepEqual(posted, [
      {
        url: 'https://point.example.com/events',
        method: 'POST',
        headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json' },
        body: 'a.b.c',
        deadlineMs: 699,
        pool: 'urgent',
      },
    ])
  })

  it('shows the endpoint the header that the receiver asked for', async () => {
    const { attempt, posted } = rig()
    await attempt(ITEM, { ...TARGET, authorization: 'Bearer xyz' })
    assert.equal(posted[0]?.headers.authorization, 'Bearer xyz')
  })

  it('tells of a received SET, counts and times it, and writes one debug line', async () => {
    const { attempt, lines, received, metrics } = rig()
    await attempt(ITEM, TARGET)
    assert.deepEqual(received, [ITEM])
    assert.deepEqual(lines, [['debug', 'delivery.attempted', { ...LINE, outcome: 'received' }]])
    const text = await metrics.render()
    assert.match(text, /^firebreak_push_attempts_total\{lane="urgent",outcome="received"\} 1$/m)
    assert.match(text, /^firebreak_push_attempt_seconds_count\{outcome="received"\} 1$/m)
    assert.match(text, /^firebreak_push_attempt_seconds_sum\{outcome="received"\} 0\.01234\d*$/m)
    assert.match(text, /^# HELP firebreak_push_attempts_total \w/m)
    assert.match(text, /^# HELP firebreak_push_attempt_seconds \w/m)
  })

  it('warns of a SET that the receiver refuses', async () => {
    const { attempt, lines, received } = rig({
      post: async () => ({ status: 400, headers: {}, body: Buffer.from('{"err":"invalid_key"}') }),
    })
    const outcome = await attempt(ITEM, TARGET)
    assert.deepEqual(outcome, { class: 'rejected', code: 'invalid_key', reason: 'invalid_key: ' })
    const fields = { ...LINE, outcome: 'rejected', reason: 'invalid_key: ' }
    assert.deepEqual(lines, [['warn', 'delivery.attempted', fields]])
    assert.deepEqual(received, [])
  })

  it('notes a failure, with the time the answer asks for by the shared clock', async () => {
    const { attempt, lines, metrics } = rig({
      post: async () => ({
        status: 503,
        headers: { 'retry-after': 'Thu, 01 Jan 2026 00:00:09 GMT' },
        body: Buffer.alloc(0),
      }),
    })
    const outcome = await attempt(ITEM, TARGET)
    assert.equal(outcome.class === 'failed' && outcome.retryAfterMs, 9_000)
    const fields = { ...LINE, outcome: 'failed', failure: 'server_error', reason: 'answered 503' }
    assert.deepEqual(lines, [['info', 'delivery.attempted', fields]])
    const counted =
      /^firebreak_push_attempts_total\{lane="urgent",outcome="failed",failure="server_error"\} 1$/m
    assert.match(await metrics.render(), counted)
  })

  it('fails, and never rejects, when the request or the signature does', async () => {
    const reset = async () => {
      throw new Error('socket hang up')
    }
    for (const broken of [rig({ post: reset }), rig({ minter: { mint: reset } })]) {
      const outcome = await broken.attempt(ITEM, TARGET)
      assert.deepEqual(outcome, { class: 'failed', failure: 'internal', reason: 'socket hang up' })
    }
  })

  it('sends nothing when signing took all the time there was', async () => {
    for (const signingMs of [999.5, 1_000, 1_500]) {
      const { attempt, posted } = rig({ signingMs })
      const outcome = await attempt(ITEM, TARGET)
      assert.deepEqual(outcome, { class: 'failed', failure: 'internal', reason: 'signing took too long' })
      assert.equal(posted.length, 0)
    }
  })

  it('sends nothing that the receiver’s profile has no form for, and warns of it', async () => {
    const { attempt, posted, lines, metrics } = rig({ minter: { refusalOf: () => 'no form' } })
    assert.deepEqual(await attempt(ITEM, TARGET), { class: 'undeliverable', reason: 'no form' })
    assert.equal(posted.length, 0)
    const fields = { ...LINE, outcome: 'undeliverable', reason: 'no form', duration_ms: 0 }
    assert.deepEqual(lines, [['warn', 'delivery.attempted', fields]])
    assert.match(await metrics.render(), /outcome="undeliverable"\} 1$/m)
  })

  it('fails when the stream has no endpoint', async () => {
    const { attempt, posted } = rig()
    const outcome = await attempt(ITEM, { ...TARGET, endpointUrl: undefined })
    assert.deepEqual(outcome, {
      class: 'failed',
      failure: 'internal',
      reason: 'the stream has no endpoint_url',
    })
    assert.equal(posted.length, 0)
  })

  it('takes any 2xx from a receiver with that switch only', async () => {
    const post: Post = async () => ({ status: 204, headers: {}, body: Buffer.alloc(0) })
    assert.equal((await rig({ post }).attempt(ITEM, TARGET)).class, 'failed')
    assert.equal((await rig({ post }).attempt(ITEM, { ...TARGET, acceptsAny2xx: true })).class, 'received')
  })
})
