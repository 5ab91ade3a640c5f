import { isIP, type LookupFunction } from 'node:net'
import { buildConnector } from 'undici'
import { type ClientTls, MIN_TLS_VERSION, toSecureContext } from './client-tls.js'
import type { AddressRefused } from './outgoing-errors.js'
import { createProxyConnect, type EgressProxy } from './proxy-connect.js'
import { type Resolver, resolveChecked } from './resolver.js'
import type { UrlRules } from './url-rules.js'

export interface DialOptions {
  lookup: LookupFunction
  timeoutMs: number
  /** Whom to believe and what to show; undefined: the system's authorities, no certificate. */
  tls?: ClientTls
}

/** Makes the connector that opens sockets; a test puts a recorder here. */
export type Dial = (options: DialOptions) => buildConnector.connector

/** Sessions are kept by each connector, so that none is resumed under another TLS setting than it began with. */
const dialSockets: Dial = ({ lookup, timeoutMs, tls }) =>
  buildConnector({
    lookup,
    timeout: timeoutMs,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: 250,
    maxCachedSessions: tls ? 10 : 1000,
    // Said here, so that neither NODE_TLS_REJECT_UNAUTHORIZED nor a flag of Node weakens it.
    rejectUnauthorized: true,
    minVersion: MIN_TLS_VERSION,
    ...(tls ? { secureContext: toSecureContext(tls) } : {}),
  } as buildConnector.BuildOptions)

export interface GuardedConnectOptions {
  rules: UrlRules
  resolve: Resolver
  timeoutMs: number
  tls?: ClientTls
  /** For what lies outside the listed networks. */
  proxy?: EgressProxy
  dial?: Dial
}

/**
 * undici's connect hook. A name is resolved here, checked, and the socket opens to the checked addresses and to
 * no other, so that a name which changes between check and connect gains nothing. undici asks no lookup for a
 * literal, so literals are checked before the socket.
 */
export function createGuardedConnect(options: GuardedConnectOptions): buildConnector.connector {
  const { rules, resolve, timeoutMs, tls, proxy, dial = dialSockets } = options
  const dialed = { timeoutMs, ...(tls ? { tls } : {}) }
  const openSecure = dial({ ...dialed, lookup: guardedLookup(rules, resolve, true) })
  const open = {
    'https:': proxy ? createProxyConnect({ ...options, proxy, open: openSecure }) : openSecure,
    // Plain http goes to listed loopback addresses only, which are this side of any proxy.
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
    open[secure ? 'https:' : 'http:']({ ...connectOptions, hostname }, keepingAlerts(callback))
  }
}

/**
 * A client certificate is refused by an alert after the handshake (RFC 8446 §4.4.2.4), and the end of the connection comes
 * right behind. undici would tell the end; ended by the alert, the socket tells why.
 */
function keepingAlerts(callback: buildConnector.Callback): buildConnector.Callback {
  return (...[error, socket]) => {
    if (error) return callback(error, null)
    socket?.once('error', (cause) => socket.destroy(cause))
    return callback(null, socket as NonNullable<typeof socket>)
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
