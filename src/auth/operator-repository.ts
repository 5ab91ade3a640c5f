import { present } from '../kernel/present.js'
import type { Database } from '../storage/database.js'
import type { Operator } from './callers.js'
import type { Role } from './roles.js'

/** An operator as listed: everything but the token, which nobody has but its owner. */
export interface OperatorRecord extends Operator {
  createdAt: Date
  expiresAt: Date | null
  revokedAt: Date | null
}

interface OperatorRow {
  id: string
  name: string
  role: Role
  token_hash: Buffer
  created_at: Date
  expires_at: Date | null
  revoked_at: Date | null
}

export interface OperatorChange {
  name?: string
  role?: Role
  tokenHash?: Buffer
  expiresAt?: Date | null
  revokedAt?: Date | null
}

const COLUMNS = ['id', 'name', 'role', 'created_at', 'expires_at', 'revoked_at'] as const

/** Sole writer of `operators` and `retired_tokens`. A missing row is `undefined`; the service decides if that is an error. */
export function createOperatorRepository() {
  return {
    async insert(
      db: Database,
      operator: Operator,
      tokenHash: Buffer,
      expiresAt: Date | null,
    ): Promise<boolean> {
      const { id, name, role } = operator
      const rows = await db<OperatorRow>('operators')
        .insert({ id, name, role, token_hash: tokenHash, expires_at: expiresAt })
        // Of any kind: two processes that make the first admin at once conflict in the token before the name.
        .onConflict()
        .ignore()
        .returning('id')
      return rows.length === 1
    },

    async update(db: Database, id: string, change: OperatorChange): Promise<void> {
      await db<OperatorRow>('operators').where({ id }).update(toRow(change))
    },

    /** Remembers the operator's present token as given up; call before it is replaced or revoked. */
    async retireToken(db: Database, id: string): Promise<void> {
      await db.raw(
        `insert into retired_tokens (token_hash) select token_hash from operators where id = ?
         on conflict do nothing`,
        [id],
      )
    },

    async isRetired(db: Database, tokenHash: Buffer): Promise<boolean> {
      return (await db('retired_tokens').where({ token_hash: tokenHash }).first('retired_at')) !== undefined
    },

    async find(db: Database, by: { id: string } | { name: string } | { token_hash: Buffer }, lock = false) {
      const query = db<OperatorRow>('operators')
        .where(by)
        .first(...COLUMNS)
      const row = await (lock ? query.forUpdate() : query)
      return row && toRecord(row)
    },

    /** By the hash of a token, when that operator may act now. The database's clock decides about expiry. */
    async findActive(db: Database, tokenHash: Buffer): Promise<Operator | undefined> {
      return await db<OperatorRow>('operators')
        .where({ token_hash: tokenHash, revoked_at: null })
        .whereRaw('(expires_at is null or expires_at > now())')
        .first('id', 'name', 'role')
    },

    async list(db: Database, page: { limit: number; afterName?: string }): Promise<OperatorRecord[]> {
      const query = db<OperatorRow>('operators')
        .orderBy('name')
        .limit(page.limit)
        .select(...COLUMNS)
      if (page.afterName !== undefined) query.where('name', '>', page.afterName)
      return (await query).map(toRecord)
    },

    async isEmpty(db: Database): Promise<boolean> {
      return (await db<OperatorRow>('operators').first('id')) === undefined
    },

    /** Locks the admins that can act for good, so that two of them cannot remove each other at once. */
    async lockLastingAdmins(db: Database): Promise<string[]> {
      const rows = await db<OperatorRow>('operators')
        .where({ role: 'admin', revoked_at: null, expires_at: null })
        .orderBy('id')
        .forUpdate()
        .select('id')
      return rows.map((row) => row.id)
    },
  }
}

function toRow(change: OperatorChange): Partial<OperatorRow> {
  const { name, role, tokenHash, expiresAt, revokedAt } = change
  return present({ name, role, token_hash: tokenHash, expires_at: expiresAt, revoked_at: revokedAt })
}

function toRecord(row: Omit<OperatorRow, 'token_hash'>): OperatorRecord {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  }
}
