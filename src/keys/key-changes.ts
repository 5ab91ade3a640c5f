import type { Database } from '../storage/database.js'
import type { AuditTrail } from './audit-trail.js'
import { type KeyRing, lockKeyCreation } from './key-ring.js'
import type { SigningKey } from './signing-key.js'
import {
  databaseNowMs,
  hastenSigningKey,
  insertSigningKey,
  type NewSigningKey,
  readSigningKeys,
  retireSigningKey,
} from './signing-key-repository.js'

export interface KeyChangesOptions {
  readonly db: Database
  readonly ring: KeyRing
  readonly audit: AuditTrail
  /** After the commit. */
  changed(): Promise<void>
}

export type KeyChanges = ReturnType<typeof createKeyChanges>

/** The single changes of signing keys, each with its audit row, and the lock that lets one process at a time make them. */
export function createKeyChanges({ db, ring, audit, changed }: KeyChangesOptions) {
  return {
    /** @param work is given all keys ever and the database's time */
    async change<T>(work: (trx: Database, keys: SigningKey[], nowMs: number) => Promise<T>): Promise<T> {
      const done = await db.transaction(async (trx) => {
        await lockKeyCreation(trx)
        return await work(trx, await readSigningKeys(trx, true), await databaseNowMs(trx))
      })
      await changed()
      return done
    },

    /** @returns its kid */
    async add(trx: Database, key: NewSigningKey, actor: string): Promise<string> {
      const { kid, alg, activeFrom } = await insertSigningKey(trx, ring, key)
      const action = key.origin === 'file' ? 'key.imported' : 'key.rotated'
      const detail = { use: key.use, alg, active_from: activeFrom.toISOString() }
      await audit.record(trx, { actor, action, target: `key:${kid}`, detail })
      return kid
    },

    /** A key that waits signs already after `leadMs`. */
    async hasten(trx: Database, { kid, use, alg }: SigningKey, leadMs: number, actor: string): Promise<void> {
      const activeFrom = await hastenSigningKey(trx, kid, leadMs)
      const detail = { use, alg, active_from: activeFrom.toISOString() }
      await audit.record(trx, { actor, action: 'key.rotated', target: `key:${kid}`, detail })
    },

    async retire(trx: Database, { kid, use, alg }: SigningKey, actor: string): Promise<void> {
      await retireSigningKey(trx, kid)
      await audit.record(trx, { actor, action: 'key.retired', target: `key:${kid}`, detail: { use, alg } })
    },
  }
}
