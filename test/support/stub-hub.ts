import type { Express } from 'express'
import type { AuthenticatedReceiver, Operator } from '../../src/auth/callers.js'
import { ROLES, type Role } from '../../src/auth/roles.js'
import type { HubBase } from '../../src/hub-base.js'
import type { DescribedHub } from '../../src/hub-description.js'
import { createRoutes, type RouteParts } from '../../src/hub-routes.js'
import { createClock } from '../../src/kernel/clock.js'
import { TooManyRequests } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

/** Whatever is asked of it, so that routes can be mounted; nothing of it may be called. */
function untouched<T>(known: object = {}): T {
  const stub: unknown = new Proxy(
    Object.assign(() => {}, known),
    {
      get: (target, name) => (name in target ? target[name as keyof typeof target] : untouched()),
      apply() {
        throw new Error('this was not to be reached')
      },
    },
  )
  return stub as T
}

/** Beside the roles, which are tokens of operators of that role. */
export const RECEIVER = 'receiver'
/** Of a receiver whose token has no scope. */
export const UNSCOPED = 'unscoped'
/** Of somebody, operator or receiver, who asked too often. */
export const BUSY = 'busy'
/** Nobody can say whose it is, for the database is away. */
export const AWAY = 'away'
/** Asking whose it is fails as nobody expected. */
export const BROKEN = 'broken'

const calls = {
  take: (id: string) => (id === BUSY ? new TooManyRequests('Too often.', { retryAfterS: 2.1 }) : undefined),
}

function unknownTo(token: string): undefined {
  if (token === AWAY) throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
  if (token === BROKEN) throw new Error('the password is hunter2')
  return undefined
}

const operators = {
  calls,
  async authenticate(token: string): Promise<Operator | undefined> {
    if (ROLES.includes(token as Role)) return { id: token, name: token, role: token as Role }
    return token === BUSY ? { id: BUSY, name: BUSY, role: 'admin' } : unknownTo(token)
  },
}

const receiverAuth = {
  calls,
  async authenticate(token: string): Promise<AuthenticatedReceiver | undefined> {
    if (![RECEIVER, UNSCOPED, BUSY].includes(token)) return unknownTo(token)
    return {
      receiverId: token,
      clientId: token,
      audience: token,
      scopes: token === UNSCOPED ? [] : ['ssf.manage'],
      name: token,
      defaultSubjects: 'ALL',
      reports: [],
      grantEventTypes: null,
      compatibility: [],
    }
  },
}

/** All routes of a hub, with callers by token and nothing behind them: what gets past the checks is 500. */
export async function createStubHub(hub: DescribedHub = { issuer: 'https://hub.example' }): Promise<Express> {
  const { issuer, oauthIssuer } = hub
  const base = {
    issuer,
    clock: createClock(),
    logger: silentLogger,
    config: { roles: ['api'], trustedProxies: [], oauthIssuer },
  }
  const services = untouched<RouteParts['services']>({
    operators,
    receiverAuth,
    deliveryAuth: receiverAuth,
    settings: { issuer },
    defaultSubjects: async () => 'ALL',
  })
  return createRoutes(untouched<HubBase>(base), untouched<RouteParts>({ services }))
}
