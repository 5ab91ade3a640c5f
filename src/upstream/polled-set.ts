import type { SetIngest } from '../ingest/set-ingest.js'
import type { SetObserver } from '../ingest/set-observer.js'
import type { Transmitter } from '../ingest/transmitter.js'
import type { Clock } from '../kernel/clock.js'
import { HubError } from '../kernel/errors.js'
import { parseSet, SetRejected } from '../secevent/parse-set.js'
import { KeysUnavailable } from '../secevent/verify-set.js'
import type { SetError } from './poll-client.js'

/** `later`: neither acknowledged nor reported, so that it comes again; `rest` says whether the SETs behind it fare the same. */
export type Verdict =
  | { readonly is: 'taken' }
  | { readonly is: 'refused'; readonly error: SetError }
  | { readonly is: 'later'; readonly waitMs: number; readonly rest: boolean }

export type TakePolledSet = (transmitterId: string, jti: string, set: unknown) => Promise<Verdict>

export interface PolledSetOptions {
  ingest: SetIngest
  observe: SetObserver
  findTransmitter(id: string): Promise<Transmitter | undefined>
  clock: Pick<Clock, 'monotonicMs'>
}

const LATER_MS = 2_000

/** One SET of a poll answer, on the same way as a pushed one. Resolves to `taken` only once it is durable. Never rejects. */
export function createPolledSets({
  ingest,
  observe,
  findTransmitter,
  clock,
}: PolledSetOptions): TakePolledSet {
  return async (id, jti, set) => {
    const about = { id, beganMs: clock.monotonicMs() }
    try {
      const transmitter = await findTransmitter(id)
      if (!transmitter?.enabled) return { is: 'later', waitMs: LATER_MS, rest: true }
      const body = Buffer.from(typeof set === 'string' ? set : '')
      checkName(body, jti)
      observe.accepted(about, await ingest(transmitter, body))
      return { is: 'taken' }
    } catch (error) {
      observe.failed(about, error)
      if (error instanceof SetRejected) {
        return { is: 'refused', error: { err: error.err, description: error.message } }
      }
      const waitS = error instanceof HubError ? error.retryAfterS : undefined
      const waitMs = waitS === undefined ? LATER_MS : waitS * 1000
      return { is: 'later', waitMs, rest: !(error instanceof KeysUnavailable) }
    }
  }
}

/** RFC 8936 §2.3: the member's name is the `jti`; it is what is acknowledged, so it must be this SET's. */
function checkName(body: Buffer, jti: string): void {
  if (parseSet(body).claims.jti === jti) return
  throw new SetRejected('invalid_request', 'The "jti" of the SET is not the name under which it came.')
}
