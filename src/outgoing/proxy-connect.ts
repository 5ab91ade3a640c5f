import { isIP, isIPv4, isIPv6, type Socket } from 'node:net'
import type { buildConnector } from 'undici'
import { OutgoingFailed, toOutgoingFailed } from './outgoing-errors.js'
import { hasAnsweredSince, NoAnswerOfProxy, openTunnel, type ProxyAddress } from './proxy-tunnel.js'
import { type Resolver, resolveChecked } from './resolver.js'
import type { UrlRules } from './url-rules.js'

/** An HTTP proxy that stands between the hub and the world. */
export interface EgressProxy extends ProxyAddress {
  /** It looks names up, because the hub cannot. */
  readonly resolves: boolean
  /** Names that the hub looks up even so, and all below them. */
  readonly localNames: readonly string[]
  /** For all addresses of an endpoint together, ms: less than any request has, or it is the endpoint that is blamed. */
  readonly answersWithinMs: number
}

export interface ProxyConnectOptions {
  readonly proxy: EgressProxy
  readonly rules: UrlRules
  readonly resolve: Resolver
  /** Connects and does TLS, on a socket that is given or on one of its own to an address that it checks itself. */
  readonly open: buildConnector.connector
}

/** One that cannot be reached must not keep the others from being tried, nor many use the time up. */
const ADDRESSES_TRIED = 3
/** For one address: one lost SYN is sent again after a second. */
const ANSWER_MS = 1_500

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
    const beganAtMs = performance.now()
    let failure: unknown
    for (const [index, host] of hosts.entries()) {
      const leftMs = beganAtMs + proxy.answersWithinMs - performance.now()
      const share = index === hosts.length - 1 ? leftMs : leftMs / 2
      try {
        const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`
        return await openTunnel(proxy, authority, Math.min(ANSWER_MS, share))
      } catch (error) {
        failure = error
        // Another address mends nothing at the proxy itself, but may be what its silence was about.
        if (!(error instanceof NoAnswerOfProxy) && toOutgoingFailed(error).reason !== 'connect') break
      }
    }
    if (failure instanceof NoAnswerOfProxy && hasAnsweredSince(proxy, beganAtMs)) {
      throw new OutgoingFailed('timeout', {
        cause: failure,
        detail: 'the egress proxy answers, and not for this endpoint',
      })
    }
    throw failure
  }

  return (connectOptions, callback) => {
    const { hostname, port } = connectOptions
    const prepare = async (): Promise<Socket | undefined> => {
      const hosts = await hostsToAskFor(hostname)
      return hosts && (await reach(hosts, port || '443'))
    }
    const fail = (error: unknown) =>
      callback(error instanceof Error ? error : new OutgoingFailed('proxy'), null)
    prepare().then((socket) => {
      try {
        open({ ...connectOptions, ...(socket ? { httpSocket: socket } : {}) }, callback)
      } catch (error) {
        socket?.destroy()
        fail(error)
      }
    }, fail)
  }
}
