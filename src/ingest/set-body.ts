import type { IncomingMessage } from 'node:http'
import { Unavailable } from '../kernel/errors.js'
import { MAX_SET_BYTES, SetRejected } from '../secevent/parse-set.js'
import { SenderTooSlow } from './ingest-answers.js'

/** What a sender may send beyond the limit before it is cut off: read and dropped, so that it sees its 413. */
const MAX_DISCARDED_BYTES = 2_097_152

/** A body may take this long, and longer by what has come: a stalled one is over soon, a slow line is not. */
const BODY_TIME_MS = 2_000
const MIN_BYTES_PER_MS = 8
const MAX_BODY_TIME_MS = 10_000

/** The sender went away: there is nobody to answer. */
export class SenderGone extends Error {}

export interface BodyReading {
  /** Counts bytes to be kept; false when the hub has no room for them. */
  hold(bytes: number): boolean
  /** Takes what ends the reading when the place is needed for others. */
  whenCut(listener: () => void): void
  clock: { monotonicMs(): number }
  /** Default BODY_TIME_MS. */
  timeMs?: number | undefined
}

/**
 * Reads the body of one push, at most MAX_SET_BYTES of it into memory. The Content-Type is not looked at (docs/adr/0012).
 * @throws SetRejected (too large, or encoded), SenderTooSlow, Unavailable, SenderGone
 */
export async function readSetBody(req: IncomingMessage, options: BodyReading): Promise<Buffer> {
  const { hold, clock, timeMs = BODY_TIME_MS } = options
  const encoding = req.headers['content-encoding']
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') {
    throw new SetRejected('invalid_request', 'Send the SET without Content-Encoding.')
  }
  if (Number(req.headers['content-length']) > MAX_DISCARDED_BYTES) throw tooLarge()
  let timer: NodeJS.Timeout | undefined
  const reading = new Promise<Buffer>((resolve, reject) => {
    const beganMs = clock.monotonicMs()
    const chunks: Buffer[] = []
    let bytes = 0
    let hasEnded = false
    // 'close' comes after every 'end'; without it when the sender is gone or the server cut a slow body.
    const onGone = (): void => {
      if (!hasEnded) reject(new SenderGone())
    }
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > MAX_DISCARDED_BYTES) reject(tooLarge())
      else if (bytes > MAX_SET_BYTES) chunks.length = 0
      else if (hold(chunk.length)) chunks.push(chunk)
      else reject(new Unavailable('The hub is at its limit; send the SET again shortly.', { retryAfterS: 1 }))
    })
    req.on('end', () => {
      hasEnded = true
      if (bytes > MAX_SET_BYTES) reject(tooLarge())
      else resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    })
    req.on('error', onGone)
    req.on('close', onGone)
    options.whenCut(() => reject(new SenderTooSlow()))
    const look = (): void => {
      const allowedMs = Math.min(MAX_BODY_TIME_MS, timeMs + bytes / MIN_BYTES_PER_MS)
      const leftMs = allowedMs - (clock.monotonicMs() - beganMs)
      // After what has come meanwhile is read: it may be the hub that was slow.
      if (leftMs <= 0) setImmediate(() => reject(new SenderTooSlow()))
      else timer = setTimeout(look, leftMs)
    }
    timer = setTimeout(look, timeMs)
  })
  try {
    return await reading
  } finally {
    clearTimeout(timer)
  }
}

function tooLarge(): SetRejected {
  return new SetRejected('invalid_request', `A SET may have at most ${MAX_SET_BYTES} bytes.`, {
    tooLarge: true,
  })
}
