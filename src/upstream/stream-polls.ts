import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { CounterMetric } from '../kernel/metrics.js'
import type { Database } from '../storage/database.js'
import type { PollClient } from './poll-client.js'
import { reasonOf, runPollLoop } from './poll-loop.js'
import type { TakePolledSet } from './polled-set.js'
import { UpstreamMistrusted } from './upstream-errors.js'
import type { UpstreamStream } from './upstream-stream.js'
import { upstreamStreamRepository as repository } from './upstream-stream-repository.js'

export interface StreamPollsOptions {
  db: Database
  clock: Clock
  logger: Logger
  polls: CounterMetric
  take: TakePolledSet
  /** The transmitter does not know the stream any more. */
  gone(stream: UpstreamStream): Promise<void>
  /** The row has changed. */
  ring(): void
}

/** The poll loop of one stream, beside what else is done for it. */
export interface StreamPolls {
  /** Polls as this row says; does nothing when that is so already. */
  keep(stream: UpstreamStream, poll: PollClient): Promise<void>
  /** At once; `stop` waits until what was taken has been acknowledged. */
  abort(): void
  stop(): Promise<void>
}

const NOTE_EVERY_MS = 5_000

export function createStreamPolls(options: StreamPollsOptions): StreamPolls {
  const { db, clock, logger } = options
  let polling: { key: string; abort: AbortController; done: Promise<void> } | undefined

  async function stop(): Promise<void> {
    const ending = polling
    polling = undefined
    ending?.abort.abort()
    await ending?.done
  }

  async function run(stream: UpstreamStream, poll: PollClient, signal: AbortSignal): Promise<void> {
    const { transmitterId, pollUrl: url = '' } = stream
    const note = createNotes(stream)
    const end = await runPollLoop(
      { url, poll, take: (jti, set) => options.take(transmitterId, jti, set), ...note },
      signal,
    )
    if (end === 'gone') await quietly(transmitterId, options.gone(stream))
  }

  /** What a person sees of the polls: the time of the last one now and then, errors at once. */
  function createNotes(stream: UpstreamStream) {
    const { transmitterId } = stream
    let notedAtMs = Number.NEGATIVE_INFINITY
    let hasFailed = false
    return {
      async answered(sets: number) {
        options.polls.add({ result: sets > 0 ? 'sets' : 'empty' })
        if (clock.monotonicMs() - notedAtMs < NOTE_EVERY_MS && !hasFailed) return
        notedAtMs = clock.monotonicMs()
        await quietly(transmitterId, repository.notePoll(db, transmitterId))
        hasFailed = false
      },
      errorsDropped(count: number) {
        options.polls.add({ result: 'errors_dropped' })
        logger.warn('upstream.errors_dropped', { transmitter_id: transmitterId, count })
      },
      async failed(error: unknown) {
        hasFailed = true
        options.polls.add({ result: 'failed' })
        logger.warn('upstream.poll_failed', { transmitter_id: transmitterId, reason: describeError(error) })
        const reason = reasonOf(error)
        if (!(error instanceof UpstreamMistrusted)) {
          return await quietly(transmitterId, repository.noteError(db, transmitterId, 'poll', reason))
        }
        await quietly(transmitterId, repository.stop(db, stream, reason))
        options.ring()
      },
    }
  }

  /** Polls go on while the database is away: with Kafka SETs can be taken. */
  async function quietly(transmitterId: string, work: Promise<unknown>): Promise<void> {
    await work.catch((error: unknown) => {
      logger.warn('upstream.not_noted', { transmitter_id: transmitterId, reason: describeError(error) })
    })
  }

  return {
    async keep(stream, poll) {
      const key = `${stream.version} ${stream.streamId} ${stream.pollUrl}`
      if (polling?.key === key) return
      await stop()
      const abort = new AbortController()
      const mine = { key, abort, done: run(stream, poll, abort.signal) }
      polling = mine
      // A loop that ended by itself may be begun again.
      void mine.done.then(() => {
        if (polling === mine) polling = undefined
      })
    },
    abort: () => polling?.abort.abort(),
    stop,
  }
}
