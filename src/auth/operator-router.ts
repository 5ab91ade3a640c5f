import { Router } from 'express'
import { jsonBody } from '../http/body.js'
import { parsePage, toPage } from '../http/page.js'
import { uuidParam } from '../http/params.js'
import { parseBody, parseTime } from '../http/validate.js'
import { present } from '../kernel/present.js'
import { actorOf, requireOperator } from './callers.js'
import type { OperatorRecord } from './operator-repository.js'
import type { OperatorService } from './operator-service.js'
import { ROLES, type Role } from './roles.js'

const PROPERTIES = {
  name: { type: 'string', minLength: 1, maxLength: 100 },
  role: { enum: ROLES },
  expires_at: { type: ['string', 'null'], format: 'date-time' },
}
/** `POST /v1/operators`. */
export const NEW_OPERATOR = {
  type: 'object',
  properties: PROPERTIES,
  required: ['name', 'role'],
  additionalProperties: false,
}
export const OPERATOR_CHANGE = {
  type: 'object',
  properties: PROPERTIES,
  minProperties: 1,
  additionalProperties: false,
}

interface OperatorBody {
  name: string
  role: Role
  expires_at?: string | null
}

/** `/v1/operators`, for admins. */
export function operatorRouter(operators: OperatorService): Router {
  const router = Router()
  const what = 'operator'
  router.use(requireOperator(operators, 'operators.manage'))
  router.get('/', async (req, res) => {
    const { limit, after } = parsePage(req.query, 1)
    const rows = await operators.list({ limit: limit + 1, ...present({ afterName: after?.[0] }) })
    res.json(toPage(rows, limit, { keysOf: (row) => [row.name], render: toBody }))
  })
  router.post('/', jsonBody('16kb'), async (req, res) => {
    const { name, role, expires_at } = parseBody<OperatorBody>(NEW_OPERATOR, req.body)
    const input = { name, role, expiresAt: toDate(expires_at) ?? null }
    const { operator, token } = await operators.create(input, actorOf(res))
    res.status(201).json({ ...toBody(operator), token })
  })
  router.get('/:id', async (req, res) => {
    res.json(toBody(await operators.get(uuidParam(req, 'id', what))))
  })
  router.patch('/:id', jsonBody('16kb'), async (req, res) => {
    const { name, role, expires_at } = parseBody<Partial<OperatorBody>>(OPERATOR_CHANGE, req.body)
    const change = present({ name, role, expiresAt: toDate(expires_at) })
    res.json(toBody(await operators.update(uuidParam(req, 'id', what), change, actorOf(res))))
  })
  router.post('/:id/rotate', async (req, res) => {
    const { operator, token } = await operators.rotate(uuidParam(req, 'id', what), actorOf(res))
    res.json({ ...toBody(operator), token })
  })
  router.delete('/:id', async (req, res) => {
    await operators.revoke(uuidParam(req, 'id', what), actorOf(res))
    res.status(204).end()
  })
  return router
}

function toDate(text: string | null | undefined): Date | null | undefined {
  return typeof text === 'string' ? parseTime('expires_at', text) : text
}

function toBody(operator: OperatorRecord) {
  return {
    id: operator.id,
    name: operator.name,
    role: operator.role,
    created_at: operator.createdAt.toISOString(),
    expires_at: operator.expiresAt?.toISOString() ?? null,
    revoked_at: operator.revokedAt?.toISOString() ?? null,
  }
}
