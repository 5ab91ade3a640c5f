import { StartupError } from '../kernel/errors.js'
import { newId, newSecret } from '../kernel/ids.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import type { AuditTrail } from './audit-trail.js'
import { createOperatorRepository } from './operator-repository.js'
import { hashSecret } from './secrets.js'

const NAME = 'admin'
const PREFIX = 'fbk_op'

/** RFC 6750 b64token, and long enough that its plain hash is no oracle. */
const USABLE_TOKEN = /^[A-Za-z0-9._~+/-]{16,512}=*$/

export interface FirstAdminOptions {
  db: Database
  audit: AuditTrail
  logger: Logger
  /** FIREBREAK_ADMIN_TOKEN, when it is set. */
  given?: string | undefined
}

/**
 * Makes sure that somebody can administer the hub. With a given token, operator `admin` has that token from now on.
 * Without one, and only when there is no operator at all, makes `admin` and returns its token, to be printed once.
 * Safe when several processes start at once: one of them gets the token.
 * @throws StartupError when the given token cannot be used
 */
export async function ensureFirstAdmin(options: FirstAdminOptions): Promise<string | undefined> {
  const { db, audit, given } = options
  if (given !== undefined) {
    await useGivenToken(options, given)
    return undefined
  }
  const operators = createOperatorRepository()
  return await db.transaction(async (trx) => {
    if (!(await operators.isEmpty(trx))) return undefined
    const token = newSecret(PREFIX)
    const id = newId()
    if (!(await operators.insert(trx, { id, name: NAME, role: 'admin' }, hashSecret(token), null)))
      return undefined
    await audit.record(trx, {
      actor: 'hub',
      action: 'operator.created',
      target: id,
      detail: { name: NAME, role: 'admin' },
    })
    return token
  })
}

/**
 * `firebreak operator reset`: gives operator `admin` a new token, whatever became of the old one. Whoever can
 * reach the database may do this; the audit row shows it.
 */
export async function resetAdmin(options: { db: Database; audit: AuditTrail }): Promise<string> {
  const token = newSecret(PREFIX)
  const operators = createOperatorRepository()
  await options.db.transaction(async (trx) => {
    // Not when a setting changes the token: that may be set back.
    const before = await operators.find(trx, { name: NAME }, true)
    if (before) await operators.retireToken(trx, before.id)
    const id = await putAdmin(trx, hashSecret(token))
    await options.audit.record(trx, {
      actor: 'database access',
      action: 'operator.reset',
      target: id,
      detail: { name: NAME },
    })
  })
  return token
}

async function useGivenToken(options: FirstAdminOptions, given: string): Promise<void> {
  if (!USABLE_TOKEN.test(given)) {
    throw new StartupError(
      'FIREBREAK_ADMIN_TOKEN must have 16 to 512 characters out of A-Z a-z 0-9 - . _ ~ + / and = at its end.',
    )
  }
  const operators = createOperatorRepository()
  const hash = hashSecret(given)
  await options.db.transaction(async (trx) => {
    const holder = await operators.find(trx, { token_hash: hash })
    if (holder?.revokedAt) {
      // A revocation must survive a restart with an old setting; a crash loop would be worse than the warning.
      options.logger.warn('operator.given_token_revoked', {
        name: holder.name,
        setting: 'FIREBREAK_ADMIN_TOKEN',
      })
      return
    }
    if (holder && holder.role !== 'admin') {
      throw new StartupError(
        `FIREBREAK_ADMIN_TOKEN is the token of operator ${holder.name}, who is no admin; set another.`,
      )
    }
    if (holder) return
    if (await operators.isRetired(trx, hash)) {
      options.logger.warn('operator.given_token_retired', { name: NAME, setting: 'FIREBREAK_ADMIN_TOKEN' })
      return
    }
    const id = await putAdmin(trx, hash)
    await options.audit.record(trx, {
      actor: 'hub',
      action: 'operator.token_set',
      target: id,
      detail: { name: NAME },
    })
  })
}

/** Inserts `admin`, or gives the existing one this token and full rights again. */
async function putAdmin(trx: Database, tokenHash: Buffer): Promise<string> {
  const operators = createOperatorRepository()
  const id = newId()
  if (await operators.insert(trx, { id, name: NAME, role: 'admin' }, tokenHash, null)) return id
  const existing = await operators.find(trx, { name: NAME }, true)
  if (!existing) throw new Error('operator admin neither inserted nor found')
  await operators.update(trx, existing.id, { tokenHash, role: 'admin', expiresAt: null, revokedAt: null })
  return existing.id
}
