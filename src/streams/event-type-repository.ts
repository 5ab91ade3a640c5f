import { present } from '../kernel/present.js'
import type { AccessEffect } from '../secevent/event.js'
import {
  type CustomEventType,
  createEventTypes,
  type EffectByMember,
  type EventTypes,
} from '../secevent/event-types.js'
import { type Database, sqlInOrder, sqlRows } from '../storage/database.js'

/** A type as an operator registered it. */
export interface RegisteredType extends CustomEventType {
  readonly id: string
  readonly effect: AccessEffect | EffectByMember
  readonly createdAt: Date
  readonly updatedAt: Date
}

export type NewType = Omit<RegisteredType, 'createdAt' | 'updatedAt'>

interface TypeRow {
  id: string
  type: string
  effect: AccessEffect | EffectByMember
  schema: object | null
  description: string | null
  created_at: Date
  updated_at: Date
}

/** One change at a time, and none while a transaction decides by the types there are. */
const TYPES_LOCK = 0x46426574

const ALL = 'select * from event_types order by type'

/** Sole writer of `event_types`. A missing row is `undefined`. */
export function createEventTypeRepository(db: Database) {
  async function all(): Promise<RegisteredType[]> {
    return (await sqlRows<TypeRow>(db, ALL)).map(toType)
  }

  return {
    all,

    types: async (): Promise<EventTypes> => createEventTypes(await all()),

    /**
     * The types as they are until the transaction ends. Without this a stream could be saved by the old types after a
     * new one was looked up in all streams, and would never get it.
     */
    async hold(): Promise<EventTypes> {
      const [, rows] = await sqlInOrder<[object, TypeRow]>(db, [
        ['select pg_advisory_xact_lock_shared(?)', [TYPES_LOCK]],
        [ALL, []],
      ])
      return createEventTypes(rows.map(toType))
    },

    /** To be called first by a transaction that changes a type; it then takes no lock that others hold. */
    async lock(): Promise<void> {
      await sqlRows(db, 'select pg_advisory_xact_lock(?)', [TYPES_LOCK])
    },

    /** Differs after each change. */
    async version(): Promise<string> {
      const [row] = await sqlRows<{ version: string }>(
        db,
        "select count(*) || ' ' || coalesce(max(updated_at), 'epoch')::text as version from event_types",
      )
      return row?.version ?? ''
    },

    async count(): Promise<number> {
      const [row] = await sqlRows<{ n: number }>(db, 'select count(*)::int as n from event_types')
      return row?.n ?? 0
    },

    async find(id: string): Promise<RegisteredType | undefined> {
      const [row] = await sqlRows<TypeRow>(db, 'select * from event_types where id = ?', [id])
      return row && toType(row)
    },

    /** Undefined when the type is registered. */
    async insert(type: NewType): Promise<RegisteredType | undefined> {
      const [row] = await sqlRows<TypeRow>(
        db,
        `insert into event_types (id, type, effect, schema, description) values (?, ?, ?::jsonb, ?::jsonb, ?)
         on conflict (type) do nothing returning *`,
        [type.id, type.type, ...valuesOf(type)],
      )
      return row && toType(row)
    },

    async update(type: NewType): Promise<RegisteredType | undefined> {
      const [row] = await sqlRows<TypeRow>(
        db,
        `update event_types set effect = ?::jsonb, schema = ?::jsonb, description = ?, updated_at = clock_timestamp()
         where id = ? returning *`,
        [...valuesOf(type), type.id],
      )
      return row && toType(row)
    },

    async remove(id: string): Promise<void> {
      await sqlRows(db, 'delete from event_types where id = ?', [id])
    },
  }
}

function valuesOf(type: NewType): unknown[] {
  return [
    JSON.stringify(type.effect),
    type.schema ? JSON.stringify(type.schema) : null,
    type.description ?? null,
  ]
}

function toType(row: TypeRow): RegisteredType {
  return {
    id: row.id,
    type: row.type,
    effect: row.effect,
    ...present({ schema: row.schema ?? undefined, description: row.description ?? undefined }),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
