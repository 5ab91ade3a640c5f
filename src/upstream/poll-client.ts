import type { Clock } from '../kernel/clock.js'
import { isJsonObject } from '../secevent/canonical-json.js'
import type { AuthorizedRequest } from './authorized-request.js'
import { jsonOf, unexpected } from './json-answer.js'
import { UpstreamFailed } from './upstream-errors.js'

export interface SetError {
  readonly err: string
  readonly description: string
}

/** RFC 8936 §2.2. */
export interface PollRequest {
  readonly maxEvents: number
  readonly ack: readonly string[]
  readonly setErrs: ReadonlyMap<string, SetError>
}

/** RFC 8936 §2.3. */
export interface PollAnswer {
  /** By jti, in the order of the answer; never more than were asked for: the rest comes again. */
  readonly sets: readonly (readonly [jti: string, set: unknown])[]
  readonly moreAvailable: boolean
}

export interface PollTiming {
  /** Ends it early. */
  readonly signal?: AbortSignal
  readonly deadlineMs?: number
}

/** @throws (from it) UpstreamFailed. `gone`: the transmitter does not know the stream. */
export type PollClient = (
  url: string,
  request: PollRequest,
  timing?: PollTiming,
) => Promise<PollAnswer | 'gone'>

/** Longer than a transmitter holds a poll: half a minute is usual, a minute the longest known. */
const DEADLINE_MS = 75_000
/** A SET has 64 KiB at most. */
export const MAX_POLL_BYTES = 4_194_304
/** Some give all they have, whatever they were asked for. So many small ones are no SETs. */
const MAX_ENTRIES = 10_000

export function createPollClient(options: {
  send: AuthorizedRequest
  clock: Pick<Clock, 'now'>
}): PollClient {
  const what = 'Polling'
  return async (url, { maxEvents, ack, setErrs }, { signal, deadlineMs = DEADLINE_MS } = {}) => {
    const body = {
      maxEvents,
      ...(ack.length > 0 && { ack }),
      ...(setErrs.size > 0 && { setErrs: Object.fromEntries(setErrs) }),
    }
    const answer = await options.send(what, {
      // As the transmitter gave it, query and all.
      url,
      method: 'POST',
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        // RFC 8936 §2.4.4: the language of the descriptions.
        ...(setErrs.size > 0 && { 'content-language': 'en' }),
      },
      body: JSON.stringify(body),
      deadlineMs,
      maxBytes: MAX_POLL_BYTES,
      pool: 'polls',
      ...(signal && { signal }),
    })
    if (answer.status === 404) return 'gone'
    // Nothing to say, and no more to come.
    if (answer.status === 204) return { sets: [], moreAvailable: false }
    if (answer.status !== 200) throw unexpected(what, answer, options.clock.now())
    return parsePollAnswer(jsonOf(answer), maxEvents)
  }
}

function parsePollAnswer(value: unknown, maxEvents: number): PollAnswer {
  if (!isJsonObject(value)) {
    throw new UpstreamFailed('Polling: the answer is no JSON object.')
  }
  const { sets = {}, moreAvailable } = value
  if (!isJsonObject(sets)) {
    throw new UpstreamFailed('Polling: "sets" is no JSON object.')
  }
  const jtis = Object.keys(sets)
  if (jtis.length > MAX_ENTRIES) {
    throw new UpstreamFailed(`Polling: the answer has ${jtis.length} SETs, and ${maxEvents} were asked for.`)
  }
  return {
    sets: jtis.slice(0, maxEvents).map((jti) => [jti, sets[jti]] as const),
    moreAvailable: moreAvailable === true || jtis.length > maxEvents,
  }
}
