import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { jsonBody } from '../http/body.js'
import { PAGE_PROPERTIES, parsePage, toPage } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody, parseQuery } from '../http/validate.js'
import { InvalidRequest } from '../kernel/errors.js'
import { present } from '../kernel/present.js'
import type { AccessEffect } from '../secevent/event.js'
import { EVENT_TYPES, type EventTypeInfo, lanesOf } from '../secevent/event-types.js'
import type { RegisteredType } from './event-type-repository.js'
import type { EventTypeService, TypeChange } from './event-type-service.js'

const EFFECTS: readonly AccessEffect[] = ['tightens', 'loosens', 'neutral']
const MAX_VALUES = 50

const PROPERTIES = {
  effect: { type: ['string', 'object'] },
  schema: { type: ['object', 'null'] },
  description: { type: ['string', 'null'], minLength: 1, maxLength: 500 },
}
export const NEW_EVENT_TYPE = {
  type: 'object',
  additionalProperties: false,
  required: ['type', 'effect'],
  // As long as a receiver's grant of it may be.
  properties: { ...PROPERTIES, type: { type: 'string', minLength: 3, maxLength: 500 } },
}
export const EVENT_TYPE_CHANGE = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: PROPERTIES,
}
export const EVENT_TYPES_QUERY = {
  type: 'object',
  additionalProperties: false,
  properties: { ...PAGE_PROPERTIES, type: { type: 'string', minLength: 1, maxLength: 500 } },
}

interface TypeBody {
  effect?: unknown
  schema?: object | null
  description?: string | null
}

/** `/v1/event-types`: the built-in ones and those that operators registered. */
export function eventTypeRouter(options: {
  types: EventTypeService
  authorize(permission: Permission): RequestHandler
}): Router {
  const { types, authorize } = options
  const read = authorize('read')
  const manage = authorize('event-types.manage')
  const what = 'registered event type'
  const router = Router()
  router.get('/', read, async (req, res) => {
    const { type } = parseQuery<{ type?: string }>(EVENT_TYPES_QUERY, req.query)
    const { limit, after = [''] } = parsePage(req.query, 1, EVENT_TYPES_QUERY)
    const all = [...[...EVENT_TYPES.values()].map(builtInBody), ...(await types.list()).map(toBody)]
      .filter((row) => (type === undefined || row.type === type) && row.type > (after[0] as string))
      .sort((a, b) => (a.type < b.type ? -1 : 1))
    res.json(toPage(all.slice(0, limit + 1), limit, { keysOf: (row) => [row.type], render: (row) => row }))
  })
  router.post('/', manage, jsonBody(), async (req, res) => {
    const body = parseBody<TypeBody & { type: string }>(NEW_EVENT_TYPE, req.body)
    const input = {
      type: body.type,
      effect: parseEffect(body.effect),
      ...present({ schema: body.schema ?? undefined, description: body.description ?? undefined }),
    }
    res.status(201).json(toBody(await types.create(input, actorOf(res))))
  })
  router.get('/:id', read, async (req, res) => {
    res.json(toBody(await types.get(uuidParam(req, 'id', what))))
  })
  router.patch('/:id', manage, jsonBody(), async (req, res) => {
    const { effect, ...rest } = parseBody<TypeBody>(EVENT_TYPE_CHANGE, req.body)
    const change: TypeChange = { ...rest, ...(effect !== undefined && { effect: parseEffect(effect) }) }
    res.json(toBody(await types.update(uuidParam(req, 'id', what), change, actorOf(res))))
  })
  router.delete('/:id', manage, async (req, res) => {
    await types.remove(uuidParam(req, 'id', what), actorOf(res))
    res.status(204).end()
  })
  return router
}

/** A word, or a member of the payload with what each of its values does. */
function parseEffect(effect: unknown): RegisteredType['effect'] {
  if (isEffect(effect)) return effect
  const { member, values, otherwise, ...others } = effect as Record<string, unknown>
  const entries: [string, unknown][] = Object.entries(values ?? {})
  const isRule =
    typeof member === 'string' &&
    member.length > 0 &&
    member.length <= 100 &&
    entries.length > 0 &&
    entries.length <= MAX_VALUES &&
    entries.every(([value, does]) => value.length <= 200 && isEffect(does)) &&
    isEffect(otherwise) &&
    Object.keys(others).length === 0
  if (!isRule) {
    throw new InvalidRequest(
      `effect must be ${EFFECTS.join(', ')}, or {"member": …, "values": {value: effect} (1 to ${MAX_VALUES}), "otherwise": effect}.`,
    )
  }
  return { member, values: Object.fromEntries(entries) as Record<string, AccessEffect>, otherwise }
}

const isEffect = (value: unknown): value is AccessEffect => EFFECTS.includes(value as AccessEffect)

function builtInBody(info: EventTypeInfo) {
  return {
    id: null,
    type: info.type,
    family: info.family,
    effect: effectBody(info.effect),
    lanes: lanesOf(info),
    description: info.why,
    schema: null,
    created_at: null,
    updated_at: null,
  }
}

/** The one rule that is neither a word nor a table: what a SCIM payload says of `active`. */
function effectBody(effect: EventTypeInfo['effect']): unknown {
  if (typeof effect === 'string' || !('scimState' in effect)) return effect
  return { member: 'active', values: { false: 'tightens', true: 'loosens' }, otherwise: 'neutral' }
}

function toBody(type: RegisteredType) {
  return {
    id: type.id,
    type: type.type,
    family: 'custom' as const,
    effect: type.effect,
    lanes: lanesOf(type),
    description: type.description ?? null,
    schema: type.schema ?? null,
    created_at: type.createdAt.toISOString(),
    updated_at: type.updatedAt.toISOString(),
  }
}
