import assert from 'node:assert/strict'
import { LogUnavailable } from '../../src/eventlog/event-log.js'
import type { IngestedSet } from '../../src/ingest/set-ingest.js'
import { createClock } from '../../src/kernel/clock.js'
import { createPollClient, type PollAnswer, type PollRequest } from '../../src/upstream/poll-client.js'
import { type PollLoopOptions, runPollLoop } from '../../src/upstream/poll-loop.js'
import { createPolledSets } from '../../src/upstream/polled-set.js'
import { UpstreamFailed } from '../../src/upstream/upstream-errors.js'
import { setOf, transmitterOf } from '../ingest/ingest-fixture.js'

const REFUSED = { is: 'refused', error: { err: 'invalid_request', description: 'no SET' } } as const

/** One entry for each jti, none of them a SET. */
const junk = (jtis: readonly string[]): PollAnswer => ({
  sets: jtis.map((jti) => [jti, 'junk']),
  moreAvailable: false,
})
const numbered = (count: number, prefix = 'jti') =>
  Array.from({ length: count }, (_, number) => `${prefix}-${number}`)

describe('upstream: one poll answer', () => {
  const clientOf = (body: unknown, status = 200) =>
    createPollClient({
      send: async () => ({ status, headers: {}, body: Buffer.from(JSON.stringify(body)) }),
      clock: createClock(),
    })
  const request = { maxEvents: 50, ack: [], setErrs: new Map() }
  const entries = (count: number) => ({
    sets: Object.fromEntries(numbered(count).map((jti) => [jti, 'junk'])),
  })

  it('gives as many SETs as were asked for, and says that there are more', async () => {
    const answer = await clientOf(entries(60))('https://t.example/poll', request)
    assert.ok(answer !== 'gone')
    assert.deepEqual(
      answer.sets.map(([jti]) => jti),
      numbered(50),
    )
    assert.equal(answer.moreAvailable, true)
  })

  it('is not quoted when it is a success of another kind', async () => {
    await assert.rejects(
      async () => clientOf({ echo: 'canary' }, 201)('https://t.example/poll', request),
      (error: unknown) => error instanceof UpstreamFailed && error.message === 'Polling: status 201.',
    )
  })

  it('is waited for longer than a minute, for so long some transmitters hold it (RFC 8936 §2.2)', async () => {
    const deadlines: number[] = []
    const client = createPollClient({
      send: async (_what, { deadlineMs }) => {
        deadlines.push(deadlineMs ?? 0)
        return { status: 204, headers: {}, body: Buffer.alloc(0) }
      },
      clock: createClock(),
    })
    await client('https://t.example/poll', request)
    assert.ok((deadlines[0] ?? 0) > 60_000, String(deadlines))
  })

  it('is a failure when it has thousands', async () => {
    await assert.rejects(
      async () => clientOf(entries(10_001))('https://t.example/poll', request),
      (error: unknown) => error instanceof UpstreamFailed && /10001 SETs, and 50 were/.test(error.message),
    )
  })
})

describe('upstream: the poll loop', () => {
  /** Polls until the loop rests. @returns how often it polled, 50 at most */
  async function pollsUntilRest(answer: (poll: number) => PollAnswer): Promise<number> {
    const ended = new AbortController()
    let polls = 0
    const loop = runPollLoop(
      {
        url: 'https://t.example/poll',
        poll: async () => {
          polls += 1
          return answer(polls)
        },
        take: async () => REFUSED,
        answered: async () => {
          if (polls === 50) ended.abort()
        },
        errorsDropped: () => {},
        failed: async () => {},
      },
      ended.signal,
    )
    const resting = new Promise((resolve) => setTimeout(resolve, 300, 'resting'))
    assert.equal(await Promise.race([loop, resting]), 'resting')
    ended.abort()
    await loop
    return polls
  }

  /** Runs until `poll` has no more to say. */
  async function run(
    poll: (request: PollRequest, number: number) => PollAnswer | undefined,
    options: Partial<PollLoopOptions> = {},
  ): Promise<PollRequest[]> {
    const ended = new AbortController()
    const requests: PollRequest[] = []
    await runPollLoop(
      {
        url: 'https://t.example/poll',
        poll: async (_url, request) => {
          requests.push(request)
          const answer = request.maxEvents === 0 ? undefined : poll(request, requests.length)
          if (!answer) ended.abort()
          return answer ?? { sets: [], moreAvailable: false }
        },
        take: async () => REFUSED,
        answered: async () => {},
        errorsDropped: () => {},
        failed: async () => {},
        ...options,
      },
      ended.signal,
    )
    return requests
  }

  it('gives others a turn while it refuses SETs', async () => {
    let turns = 0
    let taken = 0
    const turn = () => {
      turns += 1
      if (taken < 50) setImmediate(turn)
    }
    setImmediate(turn)
    await run((_request, number) => (number === 1 ? junk(numbered(50)) : undefined), {
      take: async () => {
        taken += 1
        return REFUSED
      },
    })
    assert.ok(turns > 3, `${turns} turns`)
  })

  it('rests after answers of which it refuses all', async () => {
    assert.ok((await pollsUntilRest((poll) => junk(numbered(3, `poll-${poll}`)))) < 50)
  })

  it('asks once again at once where there is said to be more, and rests when that was not so (RFC 8936 §2.3)', async () => {
    assert.equal(await pollsUntilRest(() => ({ sets: [], moreAvailable: true })), 2)
  })

  it('neither acknowledges nor reports what the log did not take, until it does (RFC 8936 §2.4)', async () => {
    let isAway = true
    const take = createPolledSets({
      ingest: async () => {
        if (isAway) throw Object.assign(new LogUnavailable('The log is away.'), { retryAfterS: 0.01 })
        return {} as IngestedSet
      },
      observe: { accepted() {}, failed() {} },
      findTransmitter: async () => transmitterOf(),
      clock: createClock(),
    })
    const requests = await run(
      (_request, number) => {
        if (number === 4) return undefined
        isAway = number < 3
        return { sets: [['j1', setOf({ jti: 'j1' })]], moreAvailable: false }
      },
      { take: (jti, set) => take('t', jti, set) },
    )
    assert.deepEqual(
      requests.slice(0, 4).map(({ ack, setErrs }) => [[...ack], setErrs.size]),
      [
        [[], 0],
        [[], 0],
        [[], 0],
        [['j1'], 0],
      ],
    )
  })

  it('sends acknowledgements alone where the report of errors is refused', async () => {
    const dropped: number[] = []
    let failures = 0
    const requests = await run(
      ({ setErrs }, number) => {
        if (setErrs.size > 0) throw new UpstreamFailed('Polling: status 400.', { answered: 400 })
        return number === 1 ? junk(['good', 'bad']) : undefined
      },
      {
        take: async (jti) => (jti === 'good' ? { is: 'taken' } : REFUSED),
        errorsDropped: (count) => void dropped.push(count),
        failed: async () => {
          failures += 1
        },
      },
    )
    const said = requests.map(({ ack, setErrs }) => [ack, [...setErrs.keys()]])
    assert.deepEqual(said.slice(0, 3), [
      [[], []],
      [['good'], ['bad']],
      [['good'], []],
    ])
    assert.deepEqual(dropped, [1])
    assert.equal(failures, 0)
  })
})
