import assert from 'node:assert/strict'
import express, { type RequestHandler, type Response } from 'express'
import request from 'supertest'
import type { AttemptLimiter } from '../../src/auth/attempt-limiter.js'
import {
  type AuthenticatedReceiver,
  actorOf,
  callerOf,
  type Operator,
  operatorOf,
  receiverOf,
  requireCaller,
  requireOperator,
  requireReceiver,
  type Sender,
} from '../../src/auth/callers.js'
import {
  HELD_BY_ALL,
  isAllowed,
  type Permission,
  ROLES,
  type Role,
  rolesAllowed,
} from '../../src/auth/roles.js'
import { renderErrors } from '../../src/http/errors.js'
import { TooManyRequests } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

const operator = (token: string): Operator | undefined =>
  (ROLES as readonly string[]).includes(token)
    ? { id: `id-${token}`, name: token, role: token as Role }
    : undefined

const receiver = (token: string): AuthenticatedReceiver | undefined =>
  token.startsWith('ssf') || token === 'none'
    ? ({ receiverId: `r-${token}`, name: token, scopes: token.split('+') } as AuthenticatedReceiver)
    : undefined

describe('auth: who may call', () => {
  const taken: string[] = []
  const senders: (Sender | undefined)[] = []
  let isBlocked = false
  let hasFailedTooOften = false
  const attempts: AttemptLimiter = {
    isBlocked: () => isBlocked,
    failed: () => (hasFailedTooOften ? new TooManyRequests('wait', { retryAfterS: 7 }) : undefined),
  }
  const calls = {
    take(caller: string) {
      taken.push(caller)
      return caller.endsWith('approver') ? new TooManyRequests('slow', { retryAfterS: 1 }) : undefined
    },
  }
  const operators = { attempts, calls, authenticate: async (token: string) => operator(token) }
  const receivers = {
    attempts,
    calls,
    async authenticate(token: string, sender?: Sender) {
      senders.push(sender)
      return receiver(token)
    },
  }
  beforeEach(() => {
    taken.length = 0
    senders.length = 0
    isBlocked = false
    hasFailedTooOften = false
  })

  function ask(check: RequestHandler, token: string) {
    const app = express()
    const answer = (_req: unknown, res: Response) => {
      const { operator, receiver } = callerOf(res)
      res.json(operator ? { operator: operator.name, actor: actorOf(res) } : { receiver: receiver?.name })
    }
    app.get('/', check, answer)
    app.use(renderErrors({ logger: silentLogger }))
    return request(app).get('/').auth(token, { type: 'bearer' })
  }

  it('is an operator whose role holds the permission', async () => {
    const check = requireOperator(operators, 'containments.create')
    const allowed = await ask(check, 'responder')
    assert.deepEqual(
      [allowed.status, allowed.body],
      [200, { operator: 'responder', actor: 'operator:responder' }],
    )
    const refused = await ask(check, 'viewer')
    assert.equal(refused.status, 403)
    assert.equal(refused.body.message, 'This needs one of the roles responder, admin; yours is viewer.')
    assert.equal(refused.headers['www-authenticate'], 'Bearer realm="firebreak", error="insufficient_scope"')
    assert.deepEqual(taken, ['id-responder', 'id-viewer'])
    assert.equal((await ask(check, 'ssf.manage')).status, 401)
  })

  it('is a receiver whose token has the scope, or the greater one', async () => {
    const outcomes = async (scope: 'ssf.read' | 'ssf.manage') => {
      const check = requireReceiver(receivers, scope)
      const tokens = ['ssf.read', 'ssf.manage', 'ssf.read+ssf.manage', 'none']
      return await Promise.all(tokens.map(async (token) => (await ask(check, token)).status))
    }
    assert.deepEqual(await outcomes('ssf.read'), [200, 200, 200, 403])
    assert.deepEqual(await outcomes('ssf.manage'), [403, 200, 200, 403])
    const refused = await ask(requireReceiver(receivers, 'ssf.manage'), 'ssf.read')
    assert.match(refused.headers['www-authenticate'] ?? '', /scope="ssf\.manage"/)
    assert.match(refused.body.message, /the scope ssf\.manage/)
    assert.equal((await ask(requireReceiver(receivers, 'ssf.read'), 'admin')).status, 401)
  })

  it('is either of them where both may call, each by its own rule', async () => {
    const check = requireCaller({ operators, receivers, permission: 'audit.read', scope: 'ssf.manage' })
    assert.deepEqual((await ask(check, 'viewer')).body, { operator: 'viewer', actor: 'operator:viewer' })
    assert.deepEqual((await ask(check, 'ssf.manage')).body, { receiver: 'ssf.manage' })
    assert.equal((await ask(check, 'ssf.read')).status, 403)
    assert.equal((await ask(check, 'stranger')).status, 401)
    assert.deepEqual(taken, ['id-viewer', 'r-ssf.manage', 'r-ssf.read'])
    const strict = requireCaller({ operators, receivers, permission: 'keys.manage', scope: 'ssf.read' })
    assert.equal((await ask(strict, 'viewer')).status, 403)
  })

  it('is told to wait after too many calls, before being told that it may not', async () => {
    for (const check of [
      requireOperator(operators, 'operators.manage'),
      requireCaller({ operators, receivers, permission: 'operators.manage', scope: 'ssf.read' }),
    ]) {
      const res = await ask(check, 'approver')
      assert.deepEqual([res.status, res.headers['retry-after']], [429, '1'])
    }
  })

  it('is asked about with what its address sent before, and a failure is counted', async () => {
    const either = requireCaller({ operators, receivers, permission: 'read', scope: 'ssf.read' })
    for (const check of [requireReceiver(receivers, 'ssf.read'), either]) {
      senders.length = 0
      isBlocked = false
      await ask(check, 'ssf.read')
      isBlocked = true
      await ask(check, 'ssf.read')
      assert.deepEqual(senders, [{ isBlocked: false }, { isBlocked: true }])
      hasFailedTooOften = true
      const res = await ask(check, 'stranger')
      assert.deepEqual([res.status, res.headers['retry-after']], [429, '7'])
      hasFailedTooOften = false
    }
    const unbounded = requireReceiver({ authenticate: receivers.authenticate }, 'ssf.read')
    assert.equal((await ask(unbounded, 'stranger')).status, 401)
    assert.deepEqual(senders.at(-1), { isBlocked: false })
    assert.equal((await ask(unbounded, 'ssf.read')).status, 200)
  })

  it('is known only behind a check', () => {
    const res = { locals: {} } as Response
    for (const of of [operatorOf, receiverOf, callerOf, actorOf])
      assert.throws(() => of(res), /needs require/)
  })
})

describe('auth: what the roles may do', () => {
  const FROM_OPERATOR: readonly Permission[] = [
    'events.emit',
    'parked.replay',
    'streams.manage',
    'event-types.manage',
    'receivers.manage',
    'transmitters.manage',
    'agents.manage',
    'drills.run',
  ]
  const FOR_ADMIN: readonly Permission[] = [
    'rules.manage',
    'keys.manage',
    'subjects.erase',
    'operators.manage',
  ]
  const TABLE: readonly (readonly [readonly Permission[], readonly Role[]])[] = [
    [['read', 'audit.read'], ROLES],
    [FROM_OPERATOR, ['operator', 'responder', 'approver', 'admin']],
    [['containments.create'], ['responder', 'admin']],
    [['containments.restore'], ['approver', 'admin']],
    [FOR_ADMIN, ['admin']],
  ]
  for (const [permissions, roles] of TABLE) {
    it(`leaves ${permissions.join(', ')} to ${roles.join(', ')}`, () => {
      for (const permission of permissions) {
        assert.deepEqual(rolesAllowed(permission), roles, permission)
        for (const role of ROLES) assert.equal(isAllowed(role, permission), roles.includes(role))
      }
    })
  }

  it('refuses nobody what every role holds', () => {
    assert.deepEqual(HELD_BY_ALL, ['read', 'audit.read'])
  })
})
