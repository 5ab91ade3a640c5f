import { present } from '../kernel/present.js'
import type { Database } from '../storage/database.js'
import type { AttemptLimiter } from './attempt-limiter.js'
import type { CallLimiter } from './call-limiter.js'
import type { ReceiverAuth } from './callers.js'
import type { ExternalTokens } from './external-tokens.js'
import { createReceiverRepository } from './receiver-repository.js'
import { hashSecret } from './secrets.js'

/**
 * Tells which receiver a token belongs to. Of tokens that the hub knows nothing is cached: a revocation holds from the
 * next request on. Others are asked of the configured issuer, if any; its clients are receivers that were registered so.
 */
export function createReceiverAuth(options: {
  db: Database
  attempts?: AttemptLimiter
  calls?: CallLimiter
  external?: ExternalTokens | undefined
}): ReceiverAuth {
  const { db, external } = options
  const receivers = createReceiverRepository()
  return {
    ...present({ attempts: options.attempts, calls: options.calls }),
    async authenticate(token, sender) {
      const own = await receivers.authenticate(db, hashSecret(token))
      const proof = own ?? (await external?.verify(token, sender))
      if (own || !external || !proof) return own
      const receiver = await receivers.findExternal(db, { clientId: proof.clientId, issuer: external.issuer })
      return receiver && { ...receiver, scopes: proof.scopes }
    },
  }
}
