import { type RequestHandler, type Response, Router } from 'express'
import { jsonBody } from '../http/body.js'
import { parseBody } from '../http/validate.js'
import type { SetAlgorithm } from '../secevent/sign.js'
import type { ListedRingKey } from './ring-rotation.js'
import type { ListedKey, RotationService } from './rotation-service.js'
import type { KeyUse } from './signing-key.js'

const isNotFor = (use: string) => ({ properties: { use: { not: { const: use } } } })

export const KEY_ROTATION = {
  type: 'object',
  properties: {
    use: { enum: ['set', 'log', 'ring'] },
    alg: { enum: ['RS256', 'ES256'] },
    now: { type: 'boolean' },
  },
  required: ['use'],
  // The event log knows one algorithm, and the ring its own.
  allOf: [
    { if: isNotFor('log'), else: { properties: { alg: { const: 'ES256' } } } },
    { if: isNotFor('ring'), else: { properties: { alg: false, now: false } } },
  ],
  additionalProperties: false,
}

interface RotationBody {
  use: KeyUse | 'ring'
  alg?: SetAlgorithm
  now?: boolean
}

export interface KeysRouterOptions {
  readonly rotation: Pick<RotationService, 'list' | 'listRing' | 'rotate' | 'rotateRing' | 'retire'>
  readonly authorize: { readonly read: RequestHandler; readonly manage: RequestHandler }
  /** Who acts, as audit rows name it. */
  actorOf(res: Response): string
}

/** `/v1/keys`: names, states and times of the signing keys; never a private part. */
export function keysRouter({ rotation, authorize, actorOf }: KeysRouterOptions): Router {
  const router = Router()
  router.get('/', authorize.read, async (_req, res) => {
    // Few at any time, so all on one page.
    const [keys, ring] = [await rotation.list(), await rotation.listRing()]
    res.json({ items: [...keys.map(toBody), ...ring.map(toRingBody)], next: null })
  })
  router.post('/rotate', authorize.manage, jsonBody('16kb'), async (req, res) => {
    const { use, ...rest } = parseBody<RotationBody>(KEY_ROTATION, req.body)
    const actor = actorOf(res)
    const items =
      use === 'ring'
        ? [toRingBody(await rotation.rotateRing(actor))]
        : (await rotation.rotate({ use, ...rest }, actor)).map(toBody)
    res.status(201).json({ items })
  })
  router.post('/:kid/retire', authorize.manage, async (req, res) => {
    const { kid = '' } = req.params as { kid?: string }
    res.json(toBody(await rotation.retire(kid, actorOf(res))))
  })
  return router
}

function toBody(key: ListedKey) {
  return {
    kid: key.kid,
    use: key.use,
    alg: key.alg,
    state: key.state,
    origin: key.origin,
    created_at: key.createdAt.toISOString(),
    active_from: key.activeFrom.toISOString(),
    retires_at: key.retiresAt?.toISOString() ?? null,
    retired_at: key.retiredAt?.toISOString() ?? null,
  }
}

/** Beside the others, in their form: AES-256-GCM, RFC 7518 §5.3. */
function toRingBody(key: ListedRingKey) {
  return {
    kid: key.id,
    use: 'ring',
    alg: 'A256GCM',
    state: key.state,
    origin: 'generated',
    created_at: key.createdAt.toISOString(),
    active_from: key.activeFrom.toISOString(),
    retires_at: null,
    retired_at: null,
  }
}
