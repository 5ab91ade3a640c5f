import type { AuditLog } from '../audit/audit-log.js'
import { Conflict, NotFound } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import {
  type ParkedFilter,
  type ParkedMatch,
  type ParkedRow,
  parkedRepository,
  type Replayed,
} from './parked-repository.js'

export interface ParkedServiceOptions {
  readonly db: Database
  readonly audit: AuditLog
  readonly logger: Logger
  /** The row is back in the queue: its stream has work. */
  onReplayed(streamId: string): void
}

/** What a call about many items did. */
export interface SettledMany {
  /** Replayed or discarded. */
  readonly count: number
  /** Still open under the same filter, counted up to 10,000; without `more` they cannot be replayed. */
  readonly left: number
  /** The call's bound was reached: ask again, with `to`. */
  readonly more: boolean
  /** What was parked at that time or later is not part of it: what comes back meanwhile is not taken twice. */
  readonly to: string
}

export interface ParkedService {
  list(filter: ParkedFilter): Promise<ParkedRow[]>
  /** Sends a parked SET again, under the same jti. Throws NotFound, or Conflict when it cannot be replayed. */
  replay(id: string, actor: string): Promise<ParkedRow>
  /** Ends a parked item for good. */
  discard(id: string, reason: string, actor: string): Promise<ParkedRow>
  /** `replay` for all that match, oldest first, at most 500 in a call; what cannot be replayed stays. */
  replayMatching(match: ParkedMatch, actor: string): Promise<SettledMany>
  /** `discard` for all that match, oldest first, at most 500 in a call. */
  discardMatching(match: ParkedMatch, reason: string, actor: string): Promise<SettledMany>
}

/** Of one call and one transaction: an answer within seconds, and the queue is not held up by a flood of rows. */
const MANY_LIMIT = 500
const LEFT_LIMIT = 10_000

/** What could not go on by itself: looked at, sent again one by one, or discarded with a reason. */
export function createParkedService(options: ParkedServiceOptions): ParkedService {
  const { db, audit } = options

  async function find(id: string): Promise<ParkedRow> {
    const row = await parkedRepository.find(db, id)
    if (!row) throw new NotFound('There is no parked item with this id.')
    return row
  }

  /** Each item has its own audit row, so that who asks for its target finds it. */
  async function requeue(match: ParkedMatch, limit: number, actor: string): Promise<Replayed> {
    const replayed = await db.transaction(async (trx) => {
      const found = await parkedRepository.replay(trx, match, limit)
      for (const { id, streamId } of found.rows) {
        await audit.record(trx, {
          actor,
          action: 'parked.replay',
          target: id,
          detail: { stream_id: streamId },
        })
      }
      return found
    })
    const queued = replayed.rows
    for (const streamId of new Set(queued.map((item) => item.streamId))) {
      options.onReplayed(streamId)
      const count = queued.filter((item) => item.streamId === streamId).length
      options.logger.info('parked.replayed', { stream_id: streamId, count, actor })
    }
    return replayed
  }

  function giveUp(
    match: ParkedMatch,
    how: { reason: string; limit: number },
    actor: string,
  ): Promise<string[]> {
    return db.transaction(async (trx) => {
      const discarded = await parkedRepository.discard(trx, match, how)
      for (const target of discarded) {
        await audit.record(trx, { actor, action: 'parked.discard', target, detail: { reason: how.reason } })
      }
      return discarded
    })
  }

  async function settled(
    match: ParkedMatch & { to: string },
    { count, picked }: { count: number; picked: number },
  ): Promise<SettledMany> {
    const left = await parkedRepository.countOpen(db, match, LEFT_LIMIT)
    return { count, left, more: picked === MANY_LIMIT && left > 0, to: match.to }
  }

  return {
    list: (filter) => parkedRepository.list(db, filter),

    async replay(id, actor) {
      const row = await find(id)
      if (row.resolved_at) throw new Conflict(`This item is resolved already (${row.resolution}).`)
      if (row.kind !== 'delivery') {
        throw new Conflict(
          'Only a parked delivery can be replayed; an event or record was never fit to send. Discard it.',
        )
      }
      const { rows } = await requeue({ id }, 1, actor)
      if (rows.length === 0) {
        throw new Conflict(
          'It cannot be sent again: its stream is disabled or gone, or its event is past retention. Enable the stream, or discard the item.',
        )
      }
      return find(id)
    },

    async discard(id, reason, actor) {
      const row = await find(id)
      if (row.resolved_at) throw new Conflict(`This item is resolved already (${row.resolution}).`)
      const [discarded] = await giveUp({ id }, { reason, limit: 1 }, actor)
      if (discarded === undefined) throw new Conflict('This item is resolved already.')
      return find(id)
    },

    async replayMatching(match, actor) {
      const to = await parkedRepository.cutOff(db, match.to)
      const { rows, picked } = await requeue({ ...match, to }, MANY_LIMIT, actor)
      return settled({ ...match, to }, { count: rows.length, picked })
    },

    async discardMatching(match, reason, actor) {
      const to = await parkedRepository.cutOff(db, match.to)
      const done = await giveUp({ ...match, to }, { reason, limit: MANY_LIMIT }, actor)
      return settled({ ...match, to }, { count: done.length, picked: done.length })
    },
  }
}
