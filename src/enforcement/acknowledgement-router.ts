import { type RequestHandler, type Response, Router } from 'express'
import { jsonBody } from '../http/body.js'
import { parseBody } from '../http/validate.js'
import type { Clock } from '../kernel/clock.js'
import type { Logger } from '../kernel/logger.js'
import type { AcknowledgementStatus } from './acknowledgement-repository.js'
import type { AcknowledgementEntry, AcknowledgementService } from './acknowledgement-service.js'

const MAX_ENTRIES = 1_000

export const ACKNOWLEDGEMENTS = {
  type: 'object',
  additionalProperties: false,
  required: ['acknowledgements'],
  properties: {
    acknowledgements: {
      type: 'array',
      minItems: 1,
      maxItems: MAX_ENTRIES,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['jti', 'status'],
        properties: {
          jti: { type: 'string', minLength: 1, maxLength: 256 },
          stream_id: { type: 'string', format: 'uuid' },
          status: { enum: ['applied', 'failed', 'not_applicable'] },
          replica: { type: 'string', maxLength: 128 },
          reason: { type: 'string', maxLength: 1_000 },
          streams_cut: { type: 'integer', minimum: 0, maximum: 2_147_483_647 },
        },
      },
    },
  },
} as const

interface Body {
  acknowledgements: {
    jti: string
    stream_id?: string
    status: AcknowledgementStatus
    replica?: string
    reason?: string
    streams_cut?: number
  }[]
}

/**
 * `POST /v1/acknowledgements`: 200 `{results: [{jti, result}]}` in the order asked.
 * @param options.receiver admits receivers with the scope ssf.read
 */
export function acknowledgementRouter(options: {
  service: AcknowledgementService
  receiver: RequestHandler
  receiverOf(res: Response): { receiverId: string }
  clock: Clock
  logger: Logger
}): Router {
  const { service, clock, logger } = options
  // 1,000 entries with full reasons fit.
  return Router().post('/v1/acknowledgements', options.receiver, jsonBody('2mb'), async (req, res) => {
    const startedMs = clock.monotonicMs()
    const { receiverId } = options.receiverOf(res)
    const { acknowledgements } = parseBody<Body>(ACKNOWLEDGEMENTS, req.body)
    const results = await service.acknowledge(receiverId, acknowledgements.map(toEntry))
    const countOf = (result: string) => results.filter((each) => each === result).length
    logger.info('acknowledgements.recorded', {
      receiver_id: receiverId,
      entries: results.length,
      recorded: countOf('recorded'),
      repeat: countOf('repeat'),
      unknown: countOf('unknown'),
      ...(results.length === 1 && { jti: acknowledgements[0]?.jti }),
      duration_ms: Math.round(clock.monotonicMs() - startedMs),
    })
    res.json({
      results: results.map((result, index) => ({ jti: acknowledgements[index]?.jti, result })),
    })
  })
}

function toEntry(entry: Body['acknowledgements'][number]): AcknowledgementEntry {
  return {
    jti: entry.jti,
    status: entry.status,
    ...(entry.stream_id !== undefined && { streamId: entry.stream_id.toLowerCase() }),
    ...(entry.replica !== undefined && { replica: entry.replica }),
    ...(entry.reason !== undefined && { reason: entry.reason }),
    ...(entry.streams_cut !== undefined && { streamsCut: entry.streams_cut }),
  }
}
