import type { ReceiverObserver } from '../auth/receiver-service.js'
import type { Database, Transaction } from '../storage/database.js'
import type { OpenWork, StreamObserver } from './stream-collaborators.js'
import { createStreamRepository } from './stream-repository.js'
import type { StreamService } from './stream-service.js'

export interface ReceiverChangesOptions {
  readonly db: Database
  readonly streams: Pick<StreamService, 'grantsChanged'>
  readonly observer: StreamObserver
  readonly openWork: Pick<OpenWork, 'discard'>
}

/** A receiver's grants decide what its streams deliver; disabling or deleting it stops them. */
export function createReceiverChanges(options: ReceiverChangesOptions): Required<ReceiverObserver> {
  async function idsOf(db: Database, receiverId: string): Promise<string[]> {
    const streams = await createStreamRepository(db).list(receiverId)
    return streams.map(({ streamId }) => streamId)
  }
  // Once the row is gone its streams are too, but whoever sends for them must still be told.
  const deleted = new Map<string, string[]>()
  return {
    async changing(trx, receiver) {
      await options.streams.grantsChanged(trx as Transaction, receiver.id)
      // Grants of sources and `enabled` stand in no stream's row, but what was matched under the old ones must not go out.
      await createStreamRepository(trx).raiseVersions(receiver.id)
    },
    async deleting(trx, receiver) {
      const ids = await idsOf(trx, receiver.id)
      deleted.set(receiver.id, ids)
      for (const id of ids) await options.openWork.discard(trx as Transaction, id, 'deleted')
    },
    async changed(receiverId) {
      const ids = deleted.get(receiverId) ?? (await idsOf(options.db, receiverId))
      deleted.delete(receiverId)
      await Promise.all(ids.map((id) => options.observer.streamChanged(id)))
    },
  }
}
