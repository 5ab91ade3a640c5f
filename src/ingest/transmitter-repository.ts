import { present } from '../kernel/present.js'
import type { SetTolerances } from '../secevent/verify-set.js'
import { type Database, sqlRows } from '../storage/database.js'
import type { JwkSetDocument, Transmitter, TransmitterSettings } from './transmitter.js'

interface TransmitterRow {
  id: string
  name: string
  issuer: string
  jwks_uri: string | null
  jwks: JwkSetDocument | null
  discover: string | null
  audience: string[]
  algorithms: string[]
  authorization_hash: Buffer | null
  tolerances: SetTolerances
  budget_per_s: number
  urgent_types: string[]
  enabled: boolean
  receiver_id: string | null
  version: number
  created_at: Date
  updated_at: Date
}

const COLUMNS = `id, name, issuer, jwks_uri, jwks, discover, audience, algorithms, authorization_hash,
  tolerances, budget_per_s, urgent_types, enabled, receiver_id, version, created_at, updated_at`

/** Sole writer of `transmitters`. A missing row is `undefined`. */
export function createTransmitterRepository() {
  return {
    /** Undefined when the name is taken. */
    async insert(db: Database, id: string, settings: TransmitterSettings): Promise<Transmitter | undefined> {
      const rows = await sqlRows<TransmitterRow>(
        db,
        `insert into transmitters (id, name, issuer, jwks_uri, jwks, discover, audience, algorithms,
           authorization_hash, tolerances, budget_per_s, urgent_types, enabled, receiver_id)
         values (?, ?, ?, ?, ?::jsonb, ?, ?::text[], ?::text[], ?, ?::jsonb, ?, ?::text[], ?, ?)
         on conflict (name) do nothing returning ${COLUMNS}`,
        [id, ...valuesOf(settings)],
      )
      return rows[0] && toTransmitter(rows[0])
    },

    async find(db: Database, id: string, options: { lock?: boolean } = {}): Promise<Transmitter | undefined> {
      const lock = options.lock ? ' for update' : ''
      const rows = await sqlRows<TransmitterRow>(
        db,
        `select ${COLUMNS} from transmitters where id = ?${lock}`,
        [id],
      )
      return rows[0] && toTransmitter(rows[0])
    },

    /** By name, from after `afterName`. */
    async list(db: Database, page: { limit: number; afterName?: string }): Promise<Transmitter[]> {
      const rows = await sqlRows<TransmitterRow>(
        db,
        `select ${COLUMNS} from transmitters where ?::text is null or name > ? order by name limit ?`,
        [page.afterName ?? null, page.afterName ?? null, page.limit],
      )
      return rows.map(toTransmitter)
    },

    async loadAll(db: Database): Promise<Transmitter[]> {
      return (await sqlRows<TransmitterRow>(db, `select ${COLUMNS} from transmitters`)).map(toTransmitter)
    },

    /** Raises the version. Throws the unique violation of a taken name. */
    async update(db: Database, id: string, settings: TransmitterSettings): Promise<Transmitter | undefined> {
      const rows = await sqlRows<TransmitterRow>(
        db,
        `update transmitters set name = ?, issuer = ?, jwks_uri = ?, jwks = ?::jsonb, discover = ?, audience = ?::text[],
           algorithms = ?::text[], authorization_hash = ?, tolerances = ?::jsonb, budget_per_s = ?,
           urgent_types = ?::text[], enabled = ?, receiver_id = ?, version = version + 1, updated_at = now()
         where id = ? returning ${COLUMNS}`,
        [...valuesOf(settings), id],
      )
      return rows[0] && toTransmitter(rows[0])
    },

    /** What the transmitter assigned. False when it is gone, or has that audience already. */
    async pinAudience(db: Database, id: string, audience: readonly string[]): Promise<boolean> {
      const rows = await sqlRows(
        db,
        `update transmitters set audience = ?::text[], version = version + 1, updated_at = now()
         where id = ? and audience <> ?::text[] returning id`,
        [audience, id, audience],
      )
      return rows.length > 0
    },

    async remove(db: Database, id: string): Promise<boolean> {
      const rows = await sqlRows(db, 'delete from transmitters where id = ? returning id', [id])
      return rows.length > 0
    },
  }
}

/** In the order of the columns of `insert` and `update`, from name to receiver_id. */
function valuesOf(settings: TransmitterSettings): unknown[] {
  return [
    settings.name,
    settings.issuer,
    settings.jwksUri ?? null,
    settings.jwks ? JSON.stringify(settings.jwks) : null,
    settings.discover ?? null,
    settings.audience,
    settings.algorithms,
    settings.authorizationHash ?? null,
    JSON.stringify(settings.tolerances),
    settings.budgetPerS,
    settings.urgentTypes,
    settings.enabled,
    settings.receiverId ?? null,
  ]
}

function toTransmitter(row: TransmitterRow): Transmitter {
  return {
    id: row.id,
    name: row.name,
    issuer: row.issuer,
    ...present({
      jwksUri: row.jwks_uri ?? undefined,
      jwks: row.jwks ?? undefined,
      discover: row.discover ?? undefined,
      authorizationHash: row.authorization_hash ?? undefined,
      receiverId: row.receiver_id ?? undefined,
    }),
    audience: row.audience,
    algorithms: row.algorithms,
    tolerances: row.tolerances,
    budgetPerS: row.budget_per_s,
    urgentTypes: row.urgent_types,
    enabled: row.enabled,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
