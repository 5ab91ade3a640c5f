import { isIP, isIPv4, isIPv6, type Socket } from 'node:net'
import type { buildConnector } from 'undici'
import { OutgoingFailed, toOutgoingFailed } from './outgoing-errors.js'
import { openTunnel, type ProxyAddress } from './proxy-tunnel.js'
import { type Resolver, resolveChecked } from './resolver.js'
import type { UrlRules } from './url-rules.js'

/** An HTTP proxy that stands between the hub and the world. */
export interface EgressProxy extends ProxyAddress {
  /** It looks names up, because the hub cannot. */
  readonly resolves: boolean
  /** Names that the hub looks up even so, and all below them. */
  readonly localNames: readonly string[]
}

export interface ProxyConnectOptions {
  readonly proxy: EgressProxy
  readonly rules: UrlRules
  readonly resolve: Resolver
  readonly timeoutMs: number
  /** Connects and does TLS, on a socket that is given or on one of its own to an address that it checks itself. */
  readonly open: buildConnector.connector
}

/** One that cannot be reached must not keep the others from being tried, nor many use the time up. */
const ADDRESSES_TRIED = 3

/** Is it for the proxy to look this name up? */
export function leavesUnresolved({ resolves, localNames }: EgressProxy, hostname: string): boolean {
  if (!resolves || isIP(hostname) !== 0) return false
  const name = hostname.replace(/\.$/, '')
  return !localNames.some((local) => name === local || name.endsWith(`.${local}`))
}

/**
 * For https beyond the listed networks: a CONNECT through the proxy (RFC 9110 §9.3.6), and TLS with the endpoint inside.
 * The proxy is asked for an address that was checked here, not for the name, so that a name which changes gains nothing.
 */
export function createProxyConnect(options: ProxyConnectOptions): buildConnector.connector {
  const { proxy, rules, resolve, open } = options

  /** Undefined: it is near, go straight. */
  async function hostsToAskFor(hostname: string): Promise<string[] | undefined> {
    if (leavesUnresolved(proxy, hostname)) {
      rules.checkName(hostname)
      return [hostname]
    }
    const addresses =
      isIP(hostname) !== 0
        ? [hostname]
        : (await resolveChecked(rules, resolve, { hostname, secure: true })).map(({ address }) => address)
    if (addresses.every((address) => rules.isListed(address))) return undefined
    // Proxies without IPv6 are many.
    return addresses.sort((a, b) => Number(isIPv4(b)) - Number(isIPv4(a))).slice(0, ADDRESSES_TRIED)
  }

  async function reach(hosts: readonly string[], port: string): Promise<Socket> {
    const endsAtMs = performance.now() + options.timeoutMs
    let failure: unknown
    for (const host of hosts) {
      try {
        const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`
        return await openTunnel(proxy, authority, endsAtMs - performance.now())
      } catch (error) {
        failure = error
        // Another address mends nothing at the proxy itself.
        if (toOutgoingFailed(error).reason !== 'connect') break
      }
    }
    throw failure
  }

  return (connectOptions, callback) => {
    const { hostname, port } = connectOptions
    const prepare = async (): Promise<Socket | undefined> => {
      const hosts = await hostsToAskFor(hostname)
      return hosts && (await reach(hosts, port || '443'))
    }
    prepare().then(
      (socket) => open({ ...connectOptions, ...(socket ? { httpSocket: socket } : {}) }, callback),
      (error: unknown) => callback(error instanceof Error ? error : new OutgoingFailed('proxy'), null),
    )
  }
}
