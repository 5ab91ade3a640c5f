import type { Database } from '../storage/database.js'
import type { FrameworkEvents } from './framework-events.js'
import type { StreamSettings } from './stream.js'
import type { AuditTrail } from './stream-collaborators.js'
import { StreamNotFound, VerificationTooSoon } from './stream-errors.js'
import { createStreamRepository } from './stream-repository.js'

export interface VerificationServiceOptions {
  db: Database
  events: FrameworkEvents
  audit: AuditTrail
  settings: Pick<StreamSettings, 'minVerificationIntervalS'>
}

/** SSF 1.0 §8.1.4. */
export interface VerificationService {
  /**
   * Resolves once the verification event is durable; it goes out by the normal path. Accepted in every status: a paused
   * stream holds it, a disabled one holds nothing, so there it ends (SSF 1.0 §8.1.2.1, §8.1.4.2). Throws StreamNotFound,
   * VerificationTooSoon.
   */
  request(receiverId: string, streamId: string, state: string | undefined): Promise<void>
  /**
   * An operator's wish to know, at any time: carries no state, for a receiver refuses one that it did not choose
   * (SSF 1.0 §8.1.4.1). Throws StreamNotFound.
   */
  requestByHub(streamId: string, actor: string): Promise<void>
}

export function createVerificationService(options: VerificationServiceOptions): VerificationService {
  const { db, events } = options
  const { minVerificationIntervalS } = options.settings
  return {
    async request(receiverId, streamId, state) {
      await db.transaction(async (trx) => {
        const streams = createStreamRepository(trx)
        const stream = await streams.lock(receiverId, streamId)
        if (!stream) throw new StreamNotFound()
        const waitS = await streams.noteVerificationRequest(streamId, minVerificationIntervalS)
        if (waitS > 0) throw new VerificationTooSoon(minVerificationIntervalS, Math.ceil(waitS))
        if (stream.status !== 'disabled') await events.verification(trx, streamId, state)
      })
      events.wake()
    },

    async requestByHub(streamId, actor) {
      await db.transaction(async (trx) => {
        const stream = await createStreamRepository(trx).lockAny(streamId)
        if (!stream) throw new StreamNotFound()
        if (stream.status !== 'disabled') await events.verification(trx, streamId, undefined)
        const action = 'stream.verification_requested'
        await options.audit.record(trx, { actor, action, target: `stream:${streamId}` })
      })
      events.wake()
    },
  }
}
