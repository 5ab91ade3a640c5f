import { type Request, type RequestHandler, Router } from 'express'
import { receiverOf } from '../auth/callers.js'
import type { Compatibility } from '../auth/compatibility.js'
import { jsonBody } from '../http/body.js'
import { refuseMethod } from '../http/method-not-allowed.js'
import { uuidParam } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import { crashpoint } from '../kernel/crashpoint.js'
import { isJsonObject } from '../secevent/canonical-json.js'
import type { PollRequest, PollService } from './poll-service.js'

export const POLL_REQUEST = {
  type: 'object',
  properties: {
    maxEvents: { type: 'integer', minimum: 0 },
    returnImmediately: { type: 'boolean' },
    // Nothing is refused for its length: the acks of the same request would be lost. The body has a bound.
    ack: { type: 'array', items: { type: 'string' } },
    setErrs: {
      type: 'object',
      maxProperties: 1_000,
      additionalProperties: {
        type: 'object',
        required: ['err'],
        properties: {
          err: { type: 'string', minLength: 1, maxLength: 100 },
          description: { type: 'string' },
        },
      },
    },
  },
}

/** RFC 8936 §2.4, `POST /ssf/poll/{stream_id}`. Unknown members are ignored: later versions may add some. */
export function pollRouter(options: {
  polls: Pick<PollService, 'poll'>
  authorize: RequestHandler
  /** Asks again who calls; throws InvalidToken when the token has ended. */
  checkAccess(req: Request): Promise<void>
}): Router {
  const router = Router().post('/:streamId', options.authorize, jsonBody('1mb'), async (req, res) => {
    const { receiverId, compatibility } = receiverOf(res)
    const request = parseBody<PollRequest>(POLL_REQUEST, readDialect(req.body ?? {}, compatibility))
    const streamId = uuidParam(req, 'streamId', 'poll stream')
    const aborted = new AbortController()
    res.once('close', () => aborted.abort())
    const { sets, moreAvailable } = await options.polls.poll(receiverId, streamId, request, {
      aborted: aborted.signal,
      checkAccess: () => options.checkAccess(req),
    })
    // Absent means false (RFC 8936 §2.3).
    const saysMore = moreAvailable && !compatibility.includes('omit_more_available')
    if (Object.keys(sets).length > 0) res.once('finish', () => crashpoint('poll.answered'))
    res.set('Cache-Control', 'no-store').json({ sets, ...(saysMore && { moreAvailable }) })
  })
  return router.all('/:streamId', refuseMethod('POST'))
}

/** A poll as the receiver's client wrote it, in the words of RFC 8936. What is no object is left to the schema. */
function readDialect(body: unknown, compatibility: Compatibility): unknown {
  if (!compatibility.includes('accept_max_events')) return body
  if (!isJsonObject(body)) return body
  const { max_events, ...rest } = body
  return max_events === undefined ? rest : { maxEvents: max_events, ...rest }
}
