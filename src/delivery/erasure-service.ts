import type { AuditLog } from '../audit/audit-log.js'
import { InvalidRequest, NotFound } from '../kernel/errors.js'
import { createPerson, identifiersOf } from '../secevent/person.js'
import { canonicalSubject, parseSubject } from '../secevent/subject.js'
import type { Database } from '../storage/database.js'
import { type Erasure, type ErasurePage, erasureRepository } from './erasure-repository.js'

export interface ErasureKeys {
  hmac(purpose: 'subject', data: string): Buffer
  seal(plain: string, context: string): Buffer
  open(sealed: Buffer, context: string): Buffer
}

export interface ErasureServiceOptions {
  readonly db: Database
  readonly audit: AuditLog
  readonly keys: ErasureKeys
  /** There is work: wakes the worker, here or in another process. */
  requested(): void
}

/**
 * Makes the identifiers of one person unreadable wherever the hub holds them (docs/adr/0022). Events that are still
 * owed to a receiver are erased once they are received; `force` ends them at once, which may lose a revocation.
 */
export interface ErasureService {
  /**
   * Begins, or answers the one of the same subject that is under way. The audit row names the subject by its HMAC alone.
   * @throws InvalidRequest, InvalidSubject
   */
  request(wish: { subject: unknown; reason: string; force: boolean }, actor: string): Promise<Erasure>
  /** @throws NotFound */
  get(id: string): Promise<Erasure>
  list(page: ErasurePage): Promise<Erasure[]>
}

/** Binds the sealed identifiers to their erasure. */
export const erasureContext = (id: string): string => `erasure ${id}`

export function createErasureService(options: ErasureServiceOptions): ErasureService {
  const { db, audit, keys } = options

  async function get(id: string): Promise<Erasure> {
    const found = await erasureRepository.find(db, id)
    if (!found) throw new NotFound('There is no erasure with this id.')
    return found
  }

  return {
    async request({ subject: given, reason, force }, actor) {
      const subject = parseSubject(given)
      if (subject.format === 'complex') {
        throw new InvalidRequest(
          'subject must name the person alone: a simple subject, or aliases for several names.',
        )
      }
      const identifiers = identifiersOf(subject)
      if (createPerson(identifiers).isNamedBy(reason)) {
        throw new InvalidRequest('reason is kept in the audit log; leave the identifier out of it.')
      }
      const canonical = canonicalSubject(subject)
      const subjectHash = keys.hmac('subject', canonical)
      const id = await db.transaction(async (trx) => {
        const erasure = await erasureRepository.request(trx, {
          subjectHash,
          sealedIdentifiers: (own) => keys.seal(JSON.stringify(identifiers), erasureContext(own)),
          reason,
          force,
          by: actor,
        })
        await audit.record(trx, {
          actor,
          action: 'subject.erase_requested',
          target: `subject:${subjectHash.toString('hex')}`,
          detail: { erasure_id: erasure.id, reason, force, formats: identifiers.map(({ format }) => format) },
        })
        return erasure.id
      })
      options.requested()
      return await get(id)
    },
    get,
    list: (page) => erasureRepository.list(db, page),
  }
}
