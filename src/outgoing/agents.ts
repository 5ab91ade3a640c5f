import { Agent } from 'undici'
import { type ClientTls, tlsIdOf } from './client-tls.js'
import { createGuardedConnect, type GuardedConnectOptions } from './guarded-connect.js'
import { OutgoingFailed } from './outgoing-errors.js'

export const OUTGOING_POOLS = ['control', 'urgent', 'routine', 'metadata', 'polls', 'alerts'] as const
export type OutgoingPool = (typeof OUTGOING_POOLS)[number]

export interface AgentsOptions extends Omit<GuardedConnectOptions, 'timeoutMs' | 'tls'> {
  /** Of the lanes and of metadata. */
  readonly connectionsPerOrigin: number
  /** Agents with a TLS setting that are kept at most. */
  readonly privateAgents?: number
  /** After this long without use such an agent goes, and its connections. Milliseconds. */
  readonly unusedMs?: number
}

export interface Agents {
  /** The one to use for this request alone: it may be closed once another is asked for. */
  of(pool: OutgoingPool, tls?: ClientTls): Agent
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 10_000
const KEEP_ALIVE_MS = 90_000
const PRIVATE_AGENTS = 4_096
const UNUSED_MS = 120_000

interface PrivateAgent {
  readonly agent: Agent
  usedAtMs: number
}

/**
 * Nothing is shared between pools, so that no backlog of one lane holds the sockets of another; nor between TLS settings,
 * so that what was connected under one is never used under another. Equal settings share.
 */
export function createAgents(options: AgentsOptions): Agents {
  const { connectionsPerOrigin, privateAgents = PRIVATE_AGENTS, unusedMs = UNUSED_MS } = options
  const sizes: Partial<Record<OutgoingPool, number>> = {
    // A long poll holds its connection all the time, and one origin may have many streams for us.
    polls: 256,
    alerts: 4,
  }
  const open = (pool: OutgoingPool, tls?: ClientTls): Agent =>
    new Agent({
      connections: sizes[pool] ?? connectionsPerOrigin,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: 600_000,
      // The total deadline in exchange.ts covers these phases.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 16_384,
      connect: createGuardedConnect({ ...options, timeoutMs: CONNECT_TIMEOUT_MS, ...(tls ? { tls } : {}) }),
    })
  const shared = new Map(OUTGOING_POOLS.map((pool) => [pool, open(pool)]))
  /** The one that was used last comes last. */
  const ofSettings = new Map<string, PrivateAgent>()

  /** What is under way on it ends first. */
  function drop(id: string, { agent }: PrivateAgent): void {
    ofSettings.delete(id)
    agent.close().catch(() => {})
  }

  function dropUnused(): void {
    const beforeMs = performance.now() - unusedMs
    for (const [id, entry] of ofSettings) {
      if (entry.usedAtMs > beforeMs) return
      drop(id, entry)
    }
  }
  const sweep = setInterval(dropUnused, unusedMs / 2)
  sweep.unref()

  return {
    of(pool, tls) {
      if (!tls) return shared.get(pool) as Agent
      const id = `${pool} ${tlsIdOf(tls)}`
      const entry = ofSettings.get(id) ?? { agent: open(pool, tls), usedAtMs: 0 }
      entry.usedAtMs = performance.now()
      ofSettings.delete(id)
      ofSettings.set(id, entry)
      const [oldest] = ofSettings
      if (oldest && ofSettings.size > privateAgents) drop(...oldest)
      return entry.agent
    },
    async close() {
      clearInterval(sweep)
      const closed = new OutgoingFailed('connect', { detail: 'the hub is stopping' })
      const agents = [...shared.values(), ...[...ofSettings.values()].map(({ agent }) => agent)]
      await Promise.all(agents.map((agent) => agent.destroy(closed)))
    },
  }
}
