import { type Request, type RequestHandler, Router } from 'express'
import { receiverOf } from '../auth/callers.js'
import { jsonBody } from '../http/body.js'
import { uuidParam } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import type { PollRequest, PollService } from './poll-service.js'

export const POLL_REQUEST = {
  type: 'object',
  properties: {
    maxEvents: { type: 'integer', minimum: 0 },
    returnImmediately: { type: 'boolean' },
    ack: { type: 'array', maxItems: 10_000, items: { type: 'string', maxLength: 255 } },
    setErrs: {
      type: 'object',
      maxProperties: 1_000,
      additionalProperties: {
        type: 'object',
        required: ['err'],
        properties: {
          err: { type: 'string', minLength: 1, maxLength: 100 },
          description: { type: 'string', maxLength: 2_000 },
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
  return Router().post('/:streamId', options.authorize, jsonBody('1mb'), async (req, res) => {
    const request = parseBody<PollRequest>(POLL_REQUEST, req.body ?? {})
    const streamId = uuidParam(req, 'streamId', 'poll stream')
    const aborted = new AbortController()
    res.once('close', () => aborted.abort())
    const { sets, moreAvailable } = await options.polls.poll(receiverOf(res).receiverId, streamId, request, {
      aborted: aborted.signal,
      checkAccess: () => options.checkAccess(req),
    })
    res.set('Cache-Control', 'no-store').json({ sets, ...(moreAvailable ? { moreAvailable } : {}) })
  })
}
