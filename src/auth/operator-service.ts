import type { Clock } from '../kernel/clock.js'
import { Conflict, InvalidRequest, NotFound } from '../kernel/errors.js'
import { newId, newSecret } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import type { Database } from '../storage/database.js'
import type { AttemptLimiter } from './attempt-limiter.js'
import type { AuditTrail } from './audit-trail.js'
import type { CallLimiter } from './call-limiter.js'
import type { Operator, OperatorAuth } from './callers.js'
import { createOperatorRepository, type OperatorChange, type OperatorRecord } from './operator-repository.js'
import type { Role } from './roles.js'
import { hashSecret } from './secrets.js'
import { refuseTakenName } from './taken-name.js'

export interface OperatorServiceOptions {
  db: Database
  audit: AuditTrail
  clock: Pick<Clock, 'now'>
  attempts?: AttemptLimiter
  calls?: CallLimiter
}

export interface OperatorService extends OperatorAuth {
  list(page: { limit: number; afterName?: string }): Promise<OperatorRecord[]>
  /** @throws NotFound */
  get(id: string): Promise<OperatorRecord>
  /** The token is in the answer and nowhere else. @throws Conflict when the name was ever used */
  create(input: NewOperator, actor: string): Promise<{ operator: OperatorRecord; token: string }>
  update(
    id: string,
    change: { name?: string; role?: Role; expiresAt?: Date | null },
    actor: string,
  ): Promise<OperatorRecord>
  /** A new token; the old one ends at once. */
  rotate(id: string, actor: string): Promise<{ operator: OperatorRecord; token: string }>
  /** Ends the operator's token at once. The name stays taken, so audit rows stay unambiguous. */
  revoke(id: string, actor: string): Promise<void>
}

export interface NewOperator {
  name: string
  role: Role
  expiresAt?: Date | null
}

const PREFIX = 'fbk_op'

export function createOperatorService(options: OperatorServiceOptions): OperatorService {
  const { db, audit, clock } = options
  const operators = createOperatorRepository()

  async function locked(trx: Database, id: string): Promise<OperatorRecord> {
    const operator = await operators.find(trx, { id }, true)
    if (!operator) throw new NotFound('There is no operator with this id.')
    return operator
  }

  /** Without this, one wrong click leaves a hub that nobody can administer. */
  async function keepAnAdmin(trx: Database, id: string): Promise<void> {
    const admins = await operators.lockLastingAdmins(trx)
    if (!admins.includes(id) || admins.length > 1) return
    throw new Conflict('This is the last admin whose token does not expire; make another one first.')
  }

  function checkExpiry(expiresAt: Date | null | undefined): void {
    if (expiresAt && expiresAt.getTime() <= clock.now()) {
      throw new InvalidRequest('expires_at must be in the future.')
    }
  }

  return {
    ...present({ attempts: options.attempts, calls: options.calls }),
    authenticate: (token) => operators.findActive(db, hashSecret(token)),
    list: (page) => operators.list(db, page),

    async get(id) {
      const operator = await operators.find(db, { id })
      if (!operator) throw new NotFound('There is no operator with this id.')
      return operator
    },

    async create({ name, role, expiresAt = null }, actor) {
      checkExpiry(expiresAt)
      const token = newSecret(PREFIX)
      const operator: Operator = { id: newId(), name, role }
      return await db.transaction(async (trx) => {
        if (!(await operators.insert(trx, operator, hashSecret(token), expiresAt))) {
          throw new Conflict(`The name ${name} belongs, or belonged, to an operator; choose another.`)
        }
        await audit.record(trx, {
          actor,
          action: 'operator.created',
          target: operator.id,
          detail: { name, role },
        })
        return { operator: await locked(trx, operator.id), token }
      })
    },

    async update(id, change, actor) {
      checkExpiry(change.expiresAt)
      const losesRights = (change.role !== undefined && change.role !== 'admin') || Boolean(change.expiresAt)
      const refusal = `The name ${change.name} belongs, or belonged, to an operator; choose another.`
      return await refuseTakenName(refusal, () =>
        db.transaction(async (trx) => {
          if (losesRights) await keepAdminIfOne(trx, id)
          const before = await locked(trx, id)
          await operators.update(trx, id, change satisfies OperatorChange)
          const detail = { before: { name: before.name, role: before.role }, change }
          await audit.record(trx, { actor, action: 'operator.changed', target: id, detail })
          return await locked(trx, id)
        }),
      )
    },

    async rotate(id, actor) {
      const token = newSecret(PREFIX)
      return await db.transaction(async (trx) => {
        const { revokedAt, name } = await locked(trx, id)
        if (revokedAt) throw new Conflict('This operator is revoked; make a new one.')
        await operators.retireToken(trx, id)
        await operators.update(trx, id, { tokenHash: hashSecret(token) })
        await audit.record(trx, { actor, action: 'operator.rotated', target: id, detail: { name } })
        return { operator: await locked(trx, id), token }
      })
    },

    async revoke(id, actor) {
      await db.transaction(async (trx) => {
        await keepAdminIfOne(trx, id)
        const { revokedAt, name } = await locked(trx, id)
        if (revokedAt) return
        await operators.retireToken(trx, id)
        await operators.update(trx, id, { revokedAt: new Date(clock.now()) })
        await audit.record(trx, { actor, action: 'operator.revoked', target: id, detail: { name } })
      })
    },
  }

  /** Admins are locked before the row itself, always in this order. */
  async function keepAdminIfOne(trx: Database, id: string): Promise<void> {
    const operator = await operators.find(trx, { id })
    if (operator?.role === 'admin' && !operator.revokedAt) await keepAnAdmin(trx, id)
  }
}
