import { type RequestHandler, type Response, Router } from 'express'
import { type QueryRunner, runAtOnce } from '../http/query-runner.js'
import { parseQuery, parseTime } from '../http/validate.js'
import { type Clock, toTimestamp } from '../kernel/clock.js'
import { InvalidRequest } from '../kernel/errors.js'
import { HOUR_MS } from './latency-hours.js'
import type { Stage, StageDeadlines } from './stages.js'
import { STAGES } from './stages.js'
import type {
  Grouping,
  TimeToRevoke,
  TimeToRevokeQuery,
  TimeToRevokeReadModel,
} from './time-to-revoke-read-model.js'

const GROUPINGS: readonly Grouping[] = ['stream', 'event_type', 'source', 'point']
const DEFAULT_WINDOW_MS = 24 * HOUR_MS
const MAX_WINDOW_MS = 400 * 24 * HOUR_MS
const MAX_GROUPS = 10_000

export const TIME_TO_REVOKE_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    from: { type: 'string' },
    to: { type: 'string' },
    stage: { enum: STAGES },
    group_by: { type: 'string' },
  },
} as const

interface RawQuery {
  from?: string
  to?: string
  stage?: Stage
  group_by?: string
}

/**
 * `GET /v1/time-to-revoke`: 200 `{from, to, stage, items}`, one item per group, or one in all.
 * @param options.caller admits operators, who see all, and receivers, who see only their own
 * @param options.receiverIdOf the calling receiver; undefined for an operator
 */
export function timeToRevokeRouter(options: {
  readModel: TimeToRevokeReadModel
  caller: RequestHandler
  receiverIdOf(res: Response): string | undefined
  clock: Clock
  deadlines: StageDeadlines
  /** Bounds how many such queries run at once. */
  run?: QueryRunner
}): Router {
  const { readModel, clock, deadlines, run = runAtOnce } = options
  return Router().get('/v1/time-to-revoke', options.caller, async (req, res) => {
    const nowMs = clock.now()
    const query = readQuery(req.query, nowMs)
    const receiverId = options.receiverIdOf(res)
    const items = await run(res, () =>
      readModel.query(
        { ...query, ...(receiverId !== undefined && { receiverId }) },
        { nowMs, deadlineMs: deadlines[query.stage], limit: MAX_GROUPS },
      ),
    )
    if (items.length > MAX_GROUPS) {
      throw new InvalidRequest(
        `There are more than ${MAX_GROUPS} groups; ask for a shorter window or leave a member out of group_by.`,
      )
    }
    res.json({
      from: toTimestamp(query.fromMs),
      to: toTimestamp(query.toMs),
      stage: query.stage,
      items: items.map(toBody),
    })
  })
}

/** Defaults: the 24 hours before `to`, `to` being now; the stage received; one row. */
function readQuery(raw: unknown, nowMs: number): TimeToRevokeQuery {
  const { from, to, stage, group_by: groupBy } = parseQuery<RawQuery>(TIME_TO_REVOKE_QUERY, raw)
  // Whole ms, the next one, so that what was accepted just now is inside.
  const toMs = to === undefined ? Math.floor(nowMs) + 1 : parseTime('to', to).getTime()
  const fromMs = from === undefined ? toMs - DEFAULT_WINDOW_MS : parseTime('from', from).getTime()
  if (fromMs >= toMs) throw new InvalidRequest('from must be before to; from defaults to 24 hours before to.')
  // Event ids know no time before (RFC 9562 §5.7).
  if (fromMs < 0) {
    throw new InvalidRequest('the window must begin in 1970 or later; from defaults to 24 hours before to.')
  }
  if (toMs - fromMs > MAX_WINDOW_MS) {
    throw new InvalidRequest('The window is too long; ask for at most 400 days at once.')
  }
  return { fromMs, toMs, stage: stage ?? 'received', groupBy: readGroupBy(groupBy) }
}

function readGroupBy(text: string | undefined): Grouping[] {
  if (text === undefined) return []
  const names = text.split(',') as Grouping[]
  if (names.every((name) => GROUPINGS.includes(name)) && new Set(names).size === names.length) return names
  throw new InvalidRequest(
    `group_by must be a comma-separated list of ${GROUPINGS.join(', ')}, each at most once; leave it out for one row.`,
  )
}

function toBody(item: TimeToRevoke): object {
  return {
    ...(item.streamId !== undefined && { stream_id: item.streamId }),
    ...(item.eventType !== undefined && { event_type: item.eventType }),
    ...(item.source && { source: item.source }),
    ...(item.point && { point: item.point }),
    count: item.count,
    pending: item.pending,
    outstanding: item.outstanding,
    p50_ms: rounded(item.p50Ms),
    p90_ms: rounded(item.p90Ms),
    p99_ms: rounded(item.p99Ms),
    max_ms: rounded(item.maxMs),
    infinite: item.infinite,
    not_applicable: item.notApplicable,
    superseded: item.superseded,
    paused: item.paused,
    deleted: item.deleted,
    source_delay_p50_ms: rounded(item.sourceDelayP50Ms),
    hub_p50_ms: rounded(item.hubP50Ms),
  }
}

/** Microseconds are what the stamps hold. */
const rounded = (ms: number | null): number | null => (ms === null ? null : Math.round(ms * 1000) / 1000)
