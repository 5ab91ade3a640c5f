import type { AuditLog } from '../audit/audit-log.js'
import { Conflict, NotFound } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import { type ParkedFilter, type ParkedRow, parkedRepository } from './parked-repository.js'

export interface ParkedServiceOptions {
  readonly db: Database
  readonly audit: AuditLog
  readonly logger: Logger
  /** The row is back in the queue: its stream has work. */
  onReplayed(streamId: string): void
}

export interface ParkedService {
  list(filter: ParkedFilter): Promise<ParkedRow[]>
  /** Sends a parked SET again, under the same jti. Throws NotFound, or Conflict when it cannot be replayed. */
  replay(id: string, actor: string): Promise<ParkedRow>
  /** Ends a parked item for good. */
  discard(id: string, reason: string, actor: string): Promise<ParkedRow>
}

/** What could not go on by itself: looked at, sent again one by one, or discarded with a reason. */
export function createParkedService(options: ParkedServiceOptions): ParkedService {
  const { db, audit } = options

  async function find(id: string): Promise<ParkedRow> {
    const row = await parkedRepository.find(db, id)
    if (!row) throw new NotFound('There is no parked item with this id.')
    return row
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
      const queued = await db.transaction(async (trx) => {
        const replayed = await parkedRepository.replay(trx, id)
        if (!replayed)
          throw new Conflict(
            'It cannot be sent again: its stream is disabled or gone, or its event is past retention. Enable the stream, or discard the item.',
          )
        await audit.record(trx, {
          actor,
          action: 'parked.replay',
          target: id,
          detail: { stream_id: replayed.streamId },
        })
        return replayed
      })
      options.onReplayed(queued.streamId)
      options.logger.info('parked.replayed', { parked_id: id, stream_id: queued.streamId, actor })
      return find(id)
    },

    async discard(id, reason, actor) {
      const row = await find(id)
      if (row.resolved_at) throw new Conflict(`This item is resolved already (${row.resolution}).`)
      await db.transaction(async (trx) => {
        if (!(await parkedRepository.discard(trx, id, reason)))
          throw new Conflict('This item is resolved already.')
        await audit.record(trx, { actor, action: 'parked.discard', target: id, detail: { reason } })
      })
      return find(id)
    },
  }
}
