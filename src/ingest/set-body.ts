import type { IncomingMessage } from 'node:http'
import { MAX_SET_BYTES, SetRejected } from '../secevent/parse-set.js'

/** What a sender may send beyond the limit before it is cut off: read and dropped, so that it sees its 413. */
const MAX_DISCARDED_BYTES = 2_097_152

/** The sender went away: there is nobody to answer. */
export class SenderGone extends Error {}

/**
 * Reads the body of one push, at most MAX_SET_BYTES of it into memory. The Content-Type is not looked at.
 * @throws SetRejected (too large, or encoded), SenderGone
 */
export async function readSetBody(req: IncomingMessage): Promise<Buffer> {
  const encoding = req.headers['content-encoding']
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') {
    throw new SetRejected('invalid_request', 'Send the SET without Content-Encoding.')
  }
  if (Number(req.headers['content-length']) > MAX_DISCARDED_BYTES) throw tooLarge()
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= MAX_SET_BYTES) chunks.push(chunk)
      else if (bytes > MAX_DISCARDED_BYTES) reject(tooLarge())
      else chunks.length = 0
    })
    req.on('end', () => {
      if (bytes > MAX_SET_BYTES) reject(tooLarge())
      else resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    })
    req.on('error', () => reject(new SenderGone()))
    // 'close' without 'end' also comes when the server cut a slow body.
    req.on('close', () => reject(new SenderGone()))
  })
}

function tooLarge(): SetRejected {
  return new SetRejected('invalid_request', `A SET may have at most ${MAX_SET_BYTES} bytes.`, {
    tooLarge: true,
  })
}
