import type { Database } from '../storage/database.js'
import type { AttemptLimiter } from './attempt-limiter.js'
import type { CallLimiter } from './call-limiter.js'
import type { ReceiverAuth } from './callers.js'
import { createReceiverRepository } from './receiver-repository.js'
import { hashSecret } from './secrets.js'

/** Tells which receiver a token belongs to. Nothing is cached: a revocation holds from the next request on (T-40). */
export function createReceiverAuth(options: {
  db: Database
  attempts?: AttemptLimiter
  calls?: CallLimiter
}): ReceiverAuth {
  const receivers = createReceiverRepository()
  return {
    ...(options.attempts && { attempts: options.attempts }),
    ...(options.calls && { calls: options.calls }),
    authenticate: (token) => receivers.authenticate(options.db, hashSecret(token)),
  }
}
