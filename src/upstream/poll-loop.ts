import { setImmediate as turn } from 'node:timers/promises'
import { HubError } from '../kernel/errors.js'
import { backoffMs, rest } from './backoff.js'
import type { PollAnswer, PollClient, SetError } from './poll-client.js'
import type { Verdict } from './polled-set.js'
import { isTooLarge, UpstreamFailed } from './upstream-errors.js'

export interface PollLoopOptions {
  readonly url: string
  readonly poll: PollClient
  take(jti: string, set: unknown): Promise<Verdict>
  /** After each answer. */
  answered(sets: number): Promise<void>
  /** The transmitter does not take a report of what was refused. */
  errorsDropped(count: number): void
  /** After each failure. */
  failed(error: unknown): Promise<void>
}

const MAX_EVENTS = 50
const MAX_WAIT_MS = 30_000
/** A transmitter that does not hold polls is asked once a second. */
const SHORT_ANSWER_MS = 900
const IDLE_WAIT_MS = 1_000
const FAREWELL_MS = 2_000
const REMEMBERED = 1_000
/** A SET that is refused at once gives nobody else a turn. */
const SETS_PER_TURN = 8

/**
 * Polls until the signal is aborted (RFC 8936 §2.4). SETs are taken one after the other, in the order of the answer,
 * for the hub's order is the order of taking.
 * @returns `gone` when the transmitter does not know the stream any more
 */
export async function runPollLoop(
  options: PollLoopOptions,
  signal: AbortSignal,
): Promise<'stopped' | 'gone'> {
  const { url, poll } = options
  const ack = new Set<string>()
  const setErrs = new Map<string, SetError>()
  // What comes again although it was settled: a transmitter that does not hear us must not keep us busy.
  const settled = new Set<string>()
  let maxEvents = MAX_EVENTS
  let failures = 0
  let stale = 0

  /** @returns how long to wait before the next poll, ms */
  async function takeAll({ sets }: PollAnswer): Promise<number> {
    let waitMs = 0
    for (const [number, [jti, set]] of sets.entries()) {
      if (number % SETS_PER_TURN === SETS_PER_TURN - 1) await turn()
      if (signal.aborted) break
      const verdict = await options.take(jti, set)
      if (verdict.is === 'taken') ack.add(jti)
      else if (verdict.is === 'refused') setErrs.set(jti, verdict.error)
      else {
        waitMs = Math.max(waitMs, verdict.waitMs)
        if (verdict.rest) break
      }
    }
    return waitMs
  }

  /** Whether an answer brings anything new. What is refused is nothing: a transmitter full of it must not keep us busy. */
  function isNews(sets: PollAnswer['sets']): boolean {
    const news = sets.some(([jti]) => !settled.has(jti) && !setErrs.has(jti))
    for (const [jti] of sets) if (ack.has(jti) || setErrs.has(jti)) settled.add(jti)
    for (const jti of settled) {
      if (settled.size <= REMEMBERED) break
      settled.delete(jti)
    }
    return news
  }

  async function pollOnce(): Promise<{ gone?: true; waitMs: number }> {
    const request = { maxEvents, ack: [...ack], setErrs: new Map(setErrs) }
    const beganMs = performance.now()
    const answer = await poll(url, request, { signal })
    if (answer === 'gone') return { gone: true, waitMs: 0 }
    for (const jti of request.ack) ack.delete(jti)
    for (const jti of request.setErrs.keys()) setErrs.delete(jti)
    failures = 0
    const laterMs = await takeAll(answer)
    await options.answered(answer.sets.length)
    if (isNews(answer.sets)) {
      stale = 0
      maxEvents = Math.min(maxEvents + 1, MAX_EVENTS)
      return { waitMs: laterMs }
    }
    if (answer.moreAvailable && stale === 0) {
      stale += 1
      return { waitMs: laterMs }
    }
    const held = answer.sets.length === 0 && performance.now() - beganMs > SHORT_ANSWER_MS
    stale = held ? 0 : stale + 1
    const repeats = answer.sets.length > 0
    const idleMs = held ? 0 : repeats ? backoffMs(stale, MAX_WAIT_MS) : IDLE_WAIT_MS
    return { waitMs: Math.max(laterMs, idleMs) }
  }

  /** RFC 8936 §2.4.2: tells what was taken, and asks for nothing. */
  async function sayFarewell(): Promise<void> {
    if (ack.size === 0 && setErrs.size === 0) return
    const request = { maxEvents: 0, ack: [...ack], setErrs }
    // Unheard, those SETs come again, to whoever polls next.
    await poll(url, request, { deadlineMs: FAREWELL_MS }).catch(() => {})
  }

  while (!signal.aborted) {
    try {
      const { gone, waitMs } = await pollOnce()
      if (gone) return 'gone'
      if (waitMs > 0) await rest(waitMs, signal)
    } catch (error) {
      if (signal.aborted) break
      if (isTooLarge(error) && maxEvents > 1) {
        maxEvents = Math.ceil(maxEvents / 2)
        continue
      }
      if (isRefusal(error) && setErrs.size > 0) {
        // What was taken must be heard all the same.
        options.errorsDropped(setErrs.size)
        setErrs.clear()
        continue
      }
      failures += 1
      await options.failed(error)
      const askedMs = error instanceof UpstreamFailed ? (error.retryAfterS ?? 0) * 1000 : 0
      await rest(Math.max(askedMs, backoffMs(failures, MAX_WAIT_MS)), signal)
    }
  }
  await sayFarewell()
  return 'stopped'
}

/** The request itself was wrong, says the transmitter. */
function isRefusal(error: unknown): boolean {
  return error instanceof UpstreamFailed && [400, 413, 422].includes(error.answered ?? 0)
}

/** What a person is shown; the log has more. */
export function reasonOf(error: unknown): string {
  return error instanceof HubError ? error.message : 'The hub failed at it; its log has the reason.'
}
