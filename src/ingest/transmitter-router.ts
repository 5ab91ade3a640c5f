import { type RequestHandler, Router } from 'express'
import { actorOf } from '../auth/callers.js'
import type { Permission } from '../auth/roles.js'
import { jsonBody } from '../http/body.js'
import { parsePage, toPage } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import { toTimestamp } from '../kernel/clock.js'
import { ingestUrl } from '../kernel/issuer-url.js'
import { present } from '../kernel/present.js'
import { SET_ALGORITHMS } from '../secevent/set-header.js'
import { TOLERANCE_SWITCHES } from '../secevent/tolerances.js'
import type { SetTolerances } from '../secevent/verify-set.js'
import { DELIVERY_SCHEMA, type DeliveryBody, toStreamMembers, toStreamPlan } from './stream-body.js'
import type { StreamView } from './stream-plan.js'
import type { JwkSetDocument, Transmitter } from './transmitter.js'
import type { TransmitterChange, TransmitterService } from './transmitter-service.js'

/** Who may call; supplied by the hub. */
export interface Authorize {
  operator(permission: Permission): RequestHandler
}

/** As the API spells them. */
const TOLERANCES: Readonly<Record<string, keyof SetTolerances>> = {
  ...TOLERANCE_SWITCHES,
  future_skew_s: 'futureSkewS',
}

const SHORT_TEXT = { type: 'string', minLength: 1, maxLength: 512, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }
const URL_TEXT = { type: 'string', minLength: 1, maxLength: 2048 }

const CHANGEABLE = {
  name: { ...SHORT_TEXT, maxLength: 100 },
  jwks_uri: URL_TEXT,
  jwks: {
    type: 'object',
    required: ['keys'],
    properties: { keys: { type: 'array', minItems: 1, maxItems: 64, items: { type: 'object' } } },
  },
  discover: { anyOf: [{ const: true }, URL_TEXT] },
  audience: {
    anyOf: [SHORT_TEXT, { type: 'array', minItems: 1, maxItems: 20, uniqueItems: true, items: SHORT_TEXT }],
  },
  algorithms: {
    type: 'array',
    minItems: 1,
    maxItems: 10,
    uniqueItems: true,
    items: { enum: SET_ALGORITHMS },
  },
  authorization_header: {
    type: ['string', 'null'],
    minLength: 1,
    maxLength: 4096,
    pattern: '^[\\u0020-\\u007e]+$',
  },
  tolerances: {
    type: 'object',
    additionalProperties: false,
    properties: {
      ...Object.fromEntries(Object.keys(TOLERANCE_SWITCHES).map((name) => [name, { type: 'boolean' }])),
      future_skew_s: { type: 'integer', minimum: 0, maximum: 3600 },
    },
  },
  budget_per_s: { type: 'integer', minimum: 1, maximum: 1_000_000 },
  urgent_types: { type: 'array', maxItems: 100, uniqueItems: true, items: SHORT_TEXT },
  enabled: { type: 'boolean' },
  receiver_id: { type: ['string', 'null'], format: 'uuid' },
  delivery: DELIVERY_SCHEMA,
} as const

export const NEW_TRANSMITTER = {
  type: 'object',
  additionalProperties: false,
  // Issuer and audience may come from discovery and the stream; whether they do, the service knows.
  required: ['name'],
  properties: { ...CHANGEABLE, issuer: SHORT_TEXT },
}
export const TRANSMITTER_CHANGE = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: CHANGEABLE,
}

interface TransmitterBody {
  name?: string
  jwks_uri?: string
  jwks?: JwkSetDocument
  discover?: true | string
  audience?: string | string[]
  algorithms?: string[]
  authorization_header?: string | null
  tolerances?: Record<string, boolean | number>
  budget_per_s?: number
  urgent_types?: string[]
  enabled?: boolean
  receiver_id?: string | null
  delivery?: DeliveryBody
}

export interface TransmitterRouterOptions {
  transmitters: TransmitterService
  authorize: Authorize
  /** The hub's issuer, without a slash at its end; ingest URLs begin with it. */
  issuer: string
}

/** `/v1/transmitters`: who may send SETs to the hub. */
export function transmitterRouter(options: TransmitterRouterOptions): Router {
  const { transmitters, authorize } = options
  const renderAll = async (rows: readonly Transmitter[]) => {
    const streams = await transmitters.streamsOf(rows.map(({ id }) => id))
    return (transmitter: Transmitter) => toBody(transmitter, streams.get(transmitter.id), options.issuer)
  }
  const render = async (transmitter: Transmitter) => (await renderAll([transmitter]))(transmitter)
  const what = 'transmitter'
  const manage = authorize.operator('transmitters.manage')
  const read = authorize.operator('read')
  const router = Router()

  router.get('/', read, async (req, res) => {
    const { limit, after } = parsePage(req.query, 1)
    const afterName = after?.[0]
    const rows = await transmitters.list({ limit: limit + 1, ...present({ afterName }) })
    res.json(toPage(rows, limit, { keysOf: (row) => [row.name], render: await renderAll(rows) }))
  })
  router.post('/', manage, jsonBody(), async (req, res) => {
    const body = parseBody<TransmitterBody & { name: string; issuer?: string }>(NEW_TRANSMITTER, req.body)
    const { name, issuer } = body
    const input = { ...toChange(body), name, ...present({ issuer }) }
    res.status(201).json(await render(await transmitters.create(input, actorOf(res))))
  })
  router.get('/:id', read, async (req, res) => {
    res.json(await render(await transmitters.get(uuidParam(req, 'id', what))))
  })
  router.patch('/:id', manage, jsonBody(), async (req, res) => {
    const change = toChange(parseBody<TransmitterBody>(TRANSMITTER_CHANGE, req.body))
    res.json(await render(await transmitters.update(uuidParam(req, 'id', what), change, actorOf(res))))
  })
  router.delete('/:id', manage, async (req, res) => {
    await transmitters.remove(uuidParam(req, 'id', what), actorOf(res))
    res.status(204).end()
  })
  router.post('/:id/verify', manage, async (req, res) => {
    await transmitters.verify(uuidParam(req, 'id', what), actorOf(res))
    res.status(202).json({})
  })
  return router
}

function toChange(body: TransmitterBody): TransmitterChange {
  const stream = body.delivery && toStreamPlan(body.delivery)
  return present({
    name: body.name,
    jwksUri: body.jwks_uri,
    jwks: body.jwks,
    discover: body.discover,
    audience: body.audience === undefined ? undefined : [body.audience].flat(),
    algorithms: body.algorithms,
    authorizationHeader: body.authorization_header,
    tolerances: body.tolerances && toTolerances(body.tolerances),
    budgetPerS: body.budget_per_s,
    urgentTypes: body.urgent_types,
    enabled: body.enabled,
    receiverId: body.receiver_id,
    stream,
  })
}

function toTolerances(body: Record<string, boolean | number>): SetTolerances {
  return present(Object.fromEntries(Object.entries(TOLERANCES).map(([name, member]) => [member, body[name]])))
}

function fromTolerances(tolerances: SetTolerances): Record<string, unknown> {
  const all = Object.entries(TOLERANCES).map(([name, member]) => [name, tolerances[member]])
  return present(Object.fromEntries(all))
}

function toBody(transmitter: Transmitter, stream: StreamView | undefined, issuer: string) {
  return {
    id: transmitter.id,
    name: transmitter.name,
    issuer: transmitter.issuer,
    ...present({ jwks_uri: transmitter.jwksUri, jwks: transmitter.jwks, discover: transmitter.discover }),
    audience: transmitter.audience,
    algorithms: transmitter.algorithms,
    has_authorization_header: transmitter.authorizationHash !== undefined,
    ...toStreamMembers(stream),
    tolerances: fromTolerances(transmitter.tolerances),
    budget_per_s: transmitter.budgetPerS,
    urgent_types: transmitter.urgentTypes,
    enabled: transmitter.enabled,
    receiver_id: transmitter.receiverId ?? null,
    version: transmitter.version,
    ingest_url: ingestUrl(issuer, transmitter.id),
    created_at: toTimestamp(transmitter.createdAt.getTime()),
    updated_at: toTimestamp(transmitter.updatedAt.getTime()),
  }
}
