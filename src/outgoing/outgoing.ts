import { describeError } from '../kernel/errors.js'
import { type Logger, silentLogger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { createAddressRules } from './address-rules.js'
import { createAgents, type OutgoingPool } from './agents.js'
import type { ClientTls } from './client-tls.js'
import { ClosedBeforeAnswer, exchange } from './exchange.js'
import type { Dial } from './guarded-connect.js'
import { AddressRefused, toOutgoingFailed } from './outgoing-errors.js'
import { type EgressProxy, leavesUnresolved } from './proxy-connect.js'
import { type Resolver, resolveChecked, systemResolver } from './resolver.js'
import { createUrlRules, type Target, type UrlRules } from './url-rules.js'

export type OutgoingMethod = 'GET' | 'POST' | 'PATCH' | 'DELETE'

export interface OutgoingRequest {
  url: string
  method: OutgoingMethod
  headers: Record<string, string>
  body?: string | Buffer
  /** For everything together: waiting for a connection, DNS, TLS, headers and body. Milliseconds. */
  deadlineMs: number
  /** Of the answer's body; more is a failure. */
  maxBytes?: number
  pool: OutgoingPool
  /** Of this endpoint alone; requests with it share no connection with others. Undefined: the system's authorities. */
  tls?: ClientTls
  /** Ends it before its deadline. */
  signal?: AbortSignal
}

export interface OutgoingResponse {
  status: number
  /** Names in lower case. */
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

/** The one door for every request that leaves. */
export interface Outgoing {
  /** May requests go there? For use when a URL is registered; each connect checks again. Throws AddressRefused, the same text always. */
  checkUrl(url: string): Promise<void>
  /**
   * Sends and reads the whole answer. Any status is an answer, 3xx too: redirects are not followed.
   * Throws OutgoingFailed with its `reason`.
   */
  request(request: OutgoingRequest): Promise<OutgoingResponse>
  /** Ends all connections; requests under way fail. */
  close(): Promise<void>
}

export interface OutgoingOptions {
  /** CIDRs that may be reached although private or loopback; plain http only to a loopback address among them. */
  allowedNetworks: readonly string[]
  metrics?: Metrics
  logger?: Logger
  connectionsPerOrigin?: number
  /** Ports of the hub's own stores. */
  refusedPorts?: readonly number[]
  /** Everything but what is on allowed networks goes through it. Undefined: nothing does. */
  proxy?: EgressProxy
  resolve?: Resolver
  dial?: Dial
}

const DEFAULT_MAX_BYTES = 65_536
const CHECK_DEADLINE_MS = 5_000
const TARGETS_REMEMBERED = 4_096

/** Proxy settings in the environment are not read: a request goes where its URL says. */
export function createOutgoing(options: OutgoingOptions): Outgoing {
  const { logger = silentLogger, resolve = systemResolver, proxy, dial } = options
  const rules = createUrlRules(createAddressRules(options.allowedNetworks), options.refusedPorts)
  const agents = createAgents({
    rules,
    resolve,
    connectionsPerOrigin: options.connectionsPerOrigin ?? 16,
    ...(proxy ? { proxy } : {}),
    ...(dial ? { dial } : {}),
  })
  const parse = rememberTargets(rules)
  const count = options.metrics?.counter(
    'firebreak_outgoing_requests_total',
    'Requests that left, by outcome.',
    ['pool', 'outcome'],
  )

  async function send(request: OutgoingRequest): Promise<OutgoingResponse> {
    const attempt = {
      target: parse(request.url),
      method: request.method,
      headers: request.headers,
      ...(request.body === undefined ? {} : { body: request.body }),
      endsAtMs: performance.now() + request.deadlineMs,
      maxBytes: request.maxBytes ?? DEFAULT_MAX_BYTES,
      ...(request.signal ? { signal: request.signal } : {}),
    }
    try {
      return await exchange(agents.of(request.pool, request.tls), attempt)
    } catch (error) {
      // A kept-open connection may end just as it is used; every request we send may be repeated.
      if (!(error instanceof ClosedBeforeAnswer)) throw error
      return await exchange(agents.of(request.pool, request.tls), attempt)
    }
  }

  return {
    async checkUrl(url) {
      try {
        const target = rules.parse(url)
        if (proxy && target.secure && leavesUnresolved(proxy, target.hostname)) {
          rules.checkName(target.hostname)
          return
        }
        await within(CHECK_DEADLINE_MS, resolveChecked(rules, resolve, target))
      } catch (error) {
        logger.info('outgoing.refused', { cause: describeError(error) })
        throw error instanceof AddressRefused
          ? error
          : new AddressRefused('the name does not resolve', { cause: error })
      }
    },
    async request(request) {
      try {
        const response = await send(request)
        count?.add({ pool: request.pool, outcome: 'answered' })
        return response
      } catch (error) {
        const failure = toOutgoingFailed(error)
        count?.add({ pool: request.pool, outcome: failure.reason })
        if (failure.reason === 'refused_address') logger.warn('outgoing.refused', { cause: failure.detail })
        throw failure
      }
    },
    close: agents.close,
  }
}

/** A push goes to the same URL thousands of times: parse it once. */
function rememberTargets(rules: UrlRules): (url: string) => Target {
  const known = new Map<string, Target>()
  return (url) => {
    let target = known.get(url)
    if (!target) {
      target = rules.parse(url)
      if (known.size >= TARGETS_REMEMBERED) known.clear()
      known.set(url, target)
    }
    return target
  }
}

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new AddressRefused('name look-up took too long')), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
