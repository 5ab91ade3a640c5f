import type { Request, RequestHandler, Response } from 'express'
import type { AttemptLimiter } from './attempt-limiter.js'
import { bearerToken, Forbidden, InvalidToken } from './bearer.js'
import type { CallLimiter } from './call-limiter.js'
import type { Compatibility } from './compatibility.js'
import { isAllowed, type Permission, type Role, rolesAllowed } from './roles.js'

/** A person or a program that runs the hub. */
export interface Operator {
  id: string
  name: string
  role: Role
}

/** The only scopes there are; names starting with `ssf.` belong to the SSF specifications (docs/conformance.md T-42). */
export type Scope = 'ssf.read' | 'ssf.manage'

/** A receiver as its token proves it, with what its requests are answered by. */
export interface AuthenticatedReceiver {
  receiverId: string
  clientId: string
  audience: string
  scopes: string[]
  name: string
  defaultSubjects: 'ALL' | 'NONE'
  reports: string[]
  /** Null: all types. */
  grantEventTypes: string[] | null
  compatibility: Compatibility
}

/** What is known of the address that a token came from. */
export interface Sender {
  /** It sent too many bad ones lately. */
  readonly isBlocked: boolean
}

interface Authenticator<T> {
  /** Undefined when the token is unknown, expired, revoked, or its owner disabled. Asked at every call. */
  authenticate(token: string, sender?: Sender): Promise<T | undefined>
  /** Shared by all authenticators of a hub. */
  readonly attempts?: AttemptLimiter
  /** Bounds the calls of one caller. */
  readonly calls?: CallLimiter
}

export type OperatorAuth = Authenticator<Operator>
export type ReceiverAuth = Authenticator<AuthenticatedReceiver>

/** Lets operators with the permission pass. RFC 6750 §3.1 challenges else. */
export function requireOperator(operators: OperatorAuth, permission: Permission): RequestHandler {
  return async (req, res, next) => {
    const operator = await authenticated(req, operators.attempts, operators.authenticate)
    count(operators.calls, operator.id)
    checkPermission(operator, permission)
    res.locals.operator = operator
    next()
  }
}

/** Lets receivers with the scope pass; `ssf.manage` includes `ssf.read` (CAEP interoperability profile §2.7.3). */
export function requireReceiver(receivers: ReceiverAuth, scope: Scope): RequestHandler {
  return async (req, res, next) => {
    const receiver = await authenticated(req, receivers.attempts, receivers.authenticate)
    count(receivers.calls, receiver.receiverId)
    checkScope(receiver, scope)
    res.locals.receiver = receiver
    next()
  }
}

export interface CallerRule {
  operators: OperatorAuth
  receivers: ReceiverAuth
  permission: Permission
  scope: Scope
}

/** Lets operators with the permission or receivers with the scope pass; `callerOf` says which it was. */
export function requireCaller(rule: CallerRule): RequestHandler {
  return async (req, res, next) => {
    const caller = await authenticated(
      req,
      rule.operators.attempts,
      async (token, sender): Promise<Caller | undefined> => {
        const operator = await rule.operators.authenticate(token)
        if (operator) return { operator }
        const receiver = await rule.receivers.authenticate(token, sender)
        return receiver && { receiver }
      },
    )
    if (caller.operator) {
      count(rule.operators.calls, caller.operator.id)
      checkPermission(caller.operator, rule.permission)
    } else {
      count(rule.receivers.calls, caller.receiver.receiverId)
      checkScope(caller.receiver, rule.scope)
    }
    res.locals.operator = caller.operator
    res.locals.receiver = caller.receiver
    next()
  }
}

export type Caller =
  | { operator: Operator; receiver?: undefined }
  | { receiver: AuthenticatedReceiver; operator?: undefined }

/** The operator behind `requireOperator`. */
export function operatorOf(res: Response): Operator {
  const operator = res.locals.operator as Operator | undefined
  if (!operator) throw new Error('operatorOf needs requireOperator before it')
  return operator
}

/** The receiver behind `requireReceiver`. */
export function receiverOf(res: Response): AuthenticatedReceiver {
  const receiver = res.locals.receiver as AuthenticatedReceiver | undefined
  if (!receiver) throw new Error('receiverOf needs requireReceiver before it')
  return receiver
}

/** Whoever passed `requireCaller`. */
export function callerOf(res: Response): Caller {
  return res.locals.operator ? { operator: operatorOf(res) } : { receiver: receiverOf(res) }
}

/** The acting operator as audit rows name it. */
export function actorOf(res: Response): string {
  return `operator:${operatorOf(res).name}`
}

async function authenticated<T>(
  req: Request,
  attempts: AttemptLimiter | undefined,
  authenticate: (token: string, sender: Sender) => Promise<T | undefined>,
): Promise<T> {
  const token = bearerToken(req)
  const address = req.ip ?? 'unknown'
  const found = await authenticate(token, { isBlocked: attempts?.isBlocked(address) ?? false })
  if (found === undefined) throw attempts?.failed(address) ?? new InvalidToken()
  return found
}

function count(calls: CallLimiter | undefined, callerId: string): void {
  const refusal = calls?.take(callerId)
  if (refusal) throw refusal
}

function checkPermission(operator: Operator, permission: Permission): void {
  if (isAllowed(operator.role, permission)) return
  throw new Forbidden(
    `This needs one of the roles ${rolesAllowed(permission).join(', ')}; yours is ${operator.role}.`,
  )
}

function checkScope(receiver: AuthenticatedReceiver, scope: Scope): void {
  if (receiver.scopes.includes(scope) || receiver.scopes.includes('ssf.manage')) return
  throw new Forbidden(`This needs a token with the scope ${scope}; ask for one.`, scope)
}
