import { Conflict, InvalidRequest, NotFound } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import { schemaProblems } from '../secevent/custom-schema.js'
import { BUILT_IN_EVENT_TYPES, isReservedType } from '../secevent/event-types.js'
import type { Database } from '../storage/database.js'
import { createEventTypeRepository, type NewType, type RegisteredType } from './event-type-repository.js'
import type { AuditTrail } from './stream-collaborators.js'

export type TypeChoice = Pick<NewType, 'effect' | 'schema' | 'description'>

/** What may be changed; null takes a schema or description away. */
export interface TypeChange {
  effect?: TypeChoice['effect']
  schema?: object | null
  description?: string | null
}

/**
 * Event types that operators register, with what they do to access. Effect and lane are stamped on an event when it is
 * accepted, so a change counts for events from then on.
 */
export interface EventTypeService {
  list(): Promise<RegisteredType[]>
  /** @throws NotFound */
  get(id: string): Promise<RegisteredType>
  /** @throws InvalidRequest, Conflict */
  create(input: TypeChoice & { type: string }, actor: string): Promise<RegisteredType>
  /** @throws NotFound, InvalidRequest */
  update(id: string, change: TypeChange, actor: string): Promise<RegisteredType>
  /** Its events are unknown from now on; what was accepted goes on. @throws NotFound */
  remove(id: string, actor: string): Promise<void>
}

export interface EventTypeServiceOptions {
  readonly db: Database
  readonly audit: AuditTrail
  /** After each commit: refresh this process's types, hint to the others. */
  changed(): Promise<void>
}

const MAX_TYPES = 500
/** RFC 3986 §4.3, without the characters that no URI has. */
const ABSOLUTE_URI = /^[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-[\]_a-z~]+$/

export function createEventTypeService(options: EventTypeServiceOptions): EventTypeService {
  const { db, audit } = options
  const gone = () => new NotFound('There is no registered event type with this id.')

  async function change<T>(
    work: (types: ReturnType<typeof createEventTypeRepository>, trx: Database) => Promise<T>,
  ) {
    const done = await db.transaction(async (trx) => {
      const types = createEventTypeRepository(trx)
      await types.lock()
      return await work(types, trx)
    })
    await options.changed()
    return done
  }

  return {
    list: () => createEventTypeRepository(db).all(),

    async get(id) {
      const found = await createEventTypeRepository(db).find(id)
      if (!found) throw gone()
      return found
    },

    async create(input, actor) {
      checkName(input.type)
      checkSchema(input.schema)
      return await change(async (types, trx) => {
        if ((await types.count()) >= MAX_TYPES) {
          throw new Conflict(`There are ${MAX_TYPES} registered event types; remove one first.`)
        }
        const type = await types.insert({ ...input, id: newId() })
        if (!type)
          throw new Conflict('This event type is registered already; PATCH /v1/event-types/{id} changes it.')
        await audit.record(trx, {
          actor,
          action: 'event_type.created',
          target: `event-type:${type.id}`,
          detail: detailOf(type),
        })
        return type
      })
    },

    async update(id, { effect, schema, description }, actor) {
      checkSchema(schema)
      return await change(async (types, trx) => {
        const before = await types.find(id)
        if (!before) throw gone()
        const { schema: oldSchema, description: oldDescription, ...rest } = before
        const newSchema = schema === undefined ? oldSchema : schema
        const newDescription = description === undefined ? oldDescription : description
        const after = await types.update({
          ...rest,
          effect: effect ?? before.effect,
          ...present({ schema: newSchema ?? undefined, description: newDescription ?? undefined }),
        })
        if (!after) throw gone()
        await audit.record(trx, {
          actor,
          action: 'event_type.changed',
          target: `event-type:${id}`,
          detail: { before: detailOf(before), after: detailOf(after) },
        })
        return after
      })
    },

    async remove(id, actor) {
      await change(async (types, trx) => {
        const before = await types.find(id)
        if (!before) throw gone()
        await types.remove(id)
        await audit.record(trx, {
          actor,
          action: 'event_type.removed',
          target: `event-type:${id}`,
          detail: detailOf(before),
        })
      })
    },
  }
}

function checkName(type: string): void {
  if (BUILT_IN_EVENT_TYPES.get(type)) throw new Conflict('This event type is built in.')
  if (!ABSOLUTE_URI.test(type))
    throw new InvalidRequest('type must be an absolute URI, such as https://example.com/events/x.')
  if (isReservedType(type)) {
    throw new InvalidRequest(
      'type must not lie under https://schemas.openid.net or urn:ietf:, where others give the names; use a name of your own.',
    )
  }
}

function checkSchema(schema: object | null | undefined): void {
  const problems = schema ? schemaProblems(schema) : []
  if (problems.length > 0) throw new InvalidRequest(problems.slice(0, 20).join(' '))
}

function detailOf({ type, effect, schema }: TypeChoice & { type: string }): object {
  return { type, effect, has_schema: schema !== undefined }
}
