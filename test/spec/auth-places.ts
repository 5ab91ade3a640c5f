import type { Express } from 'express'
import { createAuthApp } from '../auth/auth-app.js'
import { isMutationRun } from '../support/mutation.js'
import { sharedTwoHubs } from '../support/two-hubs.js'

/** One call behind each kind of check. */
export interface AuthRoutes {
  /** GET, scope `ssf.read`. */
  readonly reader: string
  /** Scope `ssf.manage`. */
  readonly manager: { readonly method: 'get' | 'post'; readonly path: string }
  /** GET. */
  readonly operator: string
  /** GET, by a receiver or an operator. */
  readonly caller: string
}

export interface AuthHub {
  /** For supertest. */
  readonly app: Express | string
  readonly adminToken: string
  close(): Promise<void>
}

export interface AuthPlace {
  open(): Promise<AuthHub>
  readonly routes: AuthRoutes
  /** The routes answer with their caller. */
  readonly isInside: boolean
}

/** The room alone, with plain routes. */
const INSIDE: AuthPlace = {
  open: createAuthApp,
  isInside: true,
  routes: {
    reader: '/as-reader',
    manager: { method: 'get', path: '/as-manager' },
    operator: '/as-operator',
    caller: '/as-caller',
  },
}

/** Two processes behind one address, each request to the other of them, and the routes that receivers call. */
const TWO_HUBS: AuthPlace = {
  async open() {
    const { url, adminToken } = await sharedTwoHubs()
    // Whoever started them ends them.
    return { app: url, adminToken, async close() {} }
  },
  isInside: false,
  routes: {
    reader: '/ssf/streams',
    manager: { method: 'post', path: '/ssf/streams' },
    operator: '/v1/receivers',
    caller: '/v1/time-to-revoke?group_by=stream',
  },
}

/** The same suite on the room in this process, and on two hub processes behind one address. */
export function describeAuth(title: string, suite: (place: AuthPlace) => void): void {
  describe(title, () => suite(INSIDE))
  if (isMutationRun) return
  describe(`${title}, two hubs behind one address`, function () {
    this.timeout(120_000)
    suite(TWO_HUBS)
  })
}
