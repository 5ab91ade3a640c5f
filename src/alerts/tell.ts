import { describeError } from '../kernel/errors.js'

/** One attempt to tell. `failure` is a word for the log, the metrics and the operator who tests. */
export type Told =
  | { readonly ok: true; readonly status?: number }
  | {
      readonly ok: false
      readonly failure: string
      readonly status?: number
      /** Asked for by the other side. */
      readonly waitMs?: number
    }

/** One way out of this hub. What has not begun when the signal is aborted is not to begin. */
export type Tell = (notice: { id: string; body: string }, signal: AbortSignal) => Promise<Told>

const DEADLINE_MS = 10_000

/** Ends with the deadline or the signal, whatever the other side does: a pipe that nobody reads takes nothing and says nothing. */
export async function tellWithin(
  tell: Tell,
  notice: { id: string; body: string },
  options: { signal?: AbortSignal; deadlineMs?: number } = {},
): Promise<Told> {
  const deadline = AbortSignal.timeout(options.deadlineMs ?? DEADLINE_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline
  let giveUp: () => void = () => {}
  const ended = new Promise<Told>((resolve) => {
    giveUp = () => resolve({ ok: false, failure: 'timeout' })
    signal.addEventListener('abort', giveUp)
    if (signal.aborted) giveUp()
  })
  try {
    return await Promise.race([tell(notice, signal), ended])
  } catch (error) {
    return { ok: false, failure: describeError(error) }
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}
