import { lookup as systemLookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import { buildConnector } from 'undici'
import type { AddressRefused } from './outgoing-errors.js'
import type { UrlRules } from './url-rules.js'

export interface ResolvedAddress {
  address: string
  family: 4 | 6
}

/** Every address of a name. Rejects with the resolver's own error when there is none. */
export type Resolver = (hostname: string) => Promise<ResolvedAddress[]>

/** The system's resolver: it knows /etc/hosts and search domains, which Kubernetes needs. */
export const systemResolver: Resolver = async (hostname) => {
  const found = await systemLookup(hostname, { all: true })
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}

/** Resolves a name and checks all its addresses; one bad address refuses the name (mixed answers are how rebinding starts). */
export async function resolveChecked(
  rules: UrlRules,
  resolve: Resolver,
  target: { hostname: string; secure: boolean },
): Promise<ResolvedAddress[]> {
  const addresses = await resolve(target.hostname)
  if (addresses.length === 0) throw Object.assign(new Error('no address'), { code: 'ENOTFOUND' })
  for (const { address } of addresses) rules.checkAddress(target, address)
  return addresses
}

/** Makes the connector that opens sockets; a test puts a recorder here. */
export type Dial = (options: { lookup: LookupFunction; timeoutMs: number }) => buildConnector.connector

const dialSockets: Dial = ({ lookup, timeoutMs }) =>
  buildConnector({
    lookup,
    timeout: timeoutMs,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: 250,
    maxCachedSessions: 1000,
  } as buildConnector.BuildOptions)

export interface GuardedConnectOptions {
  rules: UrlRules
  resolve: Resolver
  timeoutMs: number
  dial?: Dial
}

/**
 * undici's connect hook. A name is resolved here, checked, and the socket opens to the checked addresses and to
 * no other, so that a name which changes between check and connect gains nothing. undici asks no lookup for a
 * literal, so literals are checked before the socket.
 */
export function createGuardedConnect(options: GuardedConnectOptions): buildConnector.connector {
  const { rules, resolve, timeoutMs, dial = dialSockets } = options
  const open = {
    'https:': dial({ timeoutMs, lookup: guardedLookup(rules, resolve, true) }),
    'http:': dial({ timeoutMs, lookup: guardedLookup(rules, resolve, false) }),
  }
  return (connectOptions, callback) => {
    const secure = connectOptions.protocol === 'https:'
    const hostname = connectOptions.hostname.replace(/^\[(.*)\]$/, '$1')
    try {
      if (isIP(hostname) !== 0) rules.checkAddress({ hostname, secure }, hostname)
    } catch (error) {
      queueMicrotask(() => callback(error as AddressRefused, null))
      return
    }
    open[secure ? 'https:' : 'http:']({ ...connectOptions, hostname }, callback)
  }
}

function guardedLookup(rules: UrlRules, resolve: Resolver, secure: boolean): LookupFunction {
  return (hostname, lookupOptions, callback) => {
    resolveChecked(rules, resolve, { hostname, secure }).then(
      (addresses) => {
        if (lookupOptions.all) callback(null, addresses)
        else callback(null, addresses[0]?.address ?? '', addresses[0]?.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, []),
    )
  }
}
