import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startGuard } from '../src/demo/child-process.js'
import { type DemoHub, startDemoHub } from '../src/demo/demo-hub.js'
import { removeFolders } from '../src/demo/workspace.js'
import type { SystemUnderTest } from './load.js'
import { findChildPid } from './process-usage.js'
import type { SourceIdentity } from './source-identity.js'

export interface HubUnderTest extends SystemUnderTest {
  /** In the order of the endpoints. */
  readonly subscriptions: readonly Subscription[]
  /** The hub's own metrics and API. */
  readonly hub: DemoHub
  stop(): Promise<void>
}

/** A stream, and a token of its receiver. */
export interface Subscription {
  readonly streamId: string
  readonly token: string
}

export interface HubOptions {
  readonly source: SourceIdentity
  /** One receiver, with an audience and a push stream of its own, per endpoint. */
  readonly endpoints: readonly string[]
  /** Set: the hub uses the Kafka log. */
  readonly kafka?: { readonly brokers: readonly string[]; readonly pid: number | undefined }
  /** Folder for a CPU profile that V8 writes when the hub ends. */
  readonly profileFolder?: string
  readonly signal: AbortSignal
}

// dist/bench/hub-under-test.js → dist/src/main.js.
const ENTRY = fileURLToPath(new URL('../src/main.js', import.meta.url))
const PARALLEL_CALLS = 8
const BUSY_WAIT_MS = 1_000
const CAEP = 'https://schemas.openid.net/secevent/caep/event-type'
/** One that is urgent, one that is routine. */
export const TYPES = { urgent: `${CAEP}/session-revoked`, routine: `${CAEP}/session-presented` } as const
const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'
/** High enough that the source's budget is not what is measured. */
const BUDGET_PER_S = 1_000_000

/** A hub of its own in a folder of its own, with the source registered and a stream for every endpoint. */
export async function startHubUnderTest(options: HubOptions): Promise<HubUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-bench-'))
  // Run as root, the hub gives PostgreSQL to another user, who must be able to pass.
  chmodSync(folder, 0o711)
  const hub = await launch(folder, options)
  const guard = await startGuard({ hubPid: hub.pid, folder })
  const stop = async (): Promise<void> => {
    await hub.stop()
    await guard.stop()
    removeFolders(folder)
  }
  try {
    await hub.waitUntilReady(options.signal)
    const ingestUrl = await registerSource(hub, options.source)
    const subscriptions = await subscribe(hub, options)
    const postgres = findChildPid(hub.pid, 'postgres')
    return {
      name: options.kafka ? 'hub (Kafka log)' : 'hub (Postgres log)',
      ingestUrl,
      streams: options.endpoints.length,
      subscriptions,
      hub,
      pids: {
        hub: hub.pid,
        ...(postgres === undefined ? {} : { postgres }),
        ...(options.kafka?.pid === undefined ? {} : { kafka: options.kafka.pid }),
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function launch(folder: string, { kafka, profileFolder }: HubOptions): Promise<DemoHub> {
  return startDemoHub({
    entry: ENTRY,
    folder,
    // Options of the bench's own process, as a profiler's, are none of the hub's.
    environment: { ...process.env, NODE_OPTIONS: undefined },
    settings: kafka ? { KAFKA_BROKERS: kafka.brokers.join(','), KAFKA_TOPIC_PREFIX: basename(folder) } : {},
    nodeOptions: profileFolder ? ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`] : [],
  })
}

/** @returns where it pushes its SETs */
export async function registerSource(hub: DemoHub, source: SourceIdentity, name = 'bench'): Promise<string> {
  const jwk = { ...source.publicJwk, kid: source.kid, alg: 'ES256', use: 'sig' }
  const { id } = await hub.call<{ id: string }>('POST', '/v1/transmitters', {
    name,
    issuer: source.issuer,
    audience: source.audience,
    jwks: { keys: [jwk] },
    algorithms: ['ES256'],
    budget_per_s: BUDGET_PER_S,
  })
  return `${hub.url}/ingest/${id}`
}

async function subscribe(hub: DemoHub, { endpoints, signal }: HubOptions): Promise<Subscription[]> {
  const subscriptions: Subscription[] = []
  const left = [...endpoints.entries()]
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      signal.throwIfAborted()
      const [index, endpoint] = next
      subscriptions[index] = await subscribeOne(hub, { name: `receiver ${index}`, endpoint })
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_CALLS }, work))
  return subscriptions
}

/**
 * A receiver with a stream. RS256 is the default signature, as the CAEP interoperability profile wants it.
 * @param endpoint absent: it polls
 */
export async function subscribeOne(
  hub: DemoHub,
  { name, endpoint }: { name: string; endpoint?: string },
): Promise<Subscription> {
  const post = async <T>(path: string, body: object, token?: string): Promise<T> => {
    for (;;) {
      try {
        return await hub.call<T>('POST', path, body, token)
      } catch (error) {
        // A fast machine asks for more than one caller may.
        if (!String(error).includes('ERR_TOO_MANY_REQUESTS')) throw error
        await sleep(BUSY_WAIT_MS)
      }
    }
  }
  const receiver = await post<{ id: string }>('/v1/receivers', { name, signing_alg: 'RS256' })
  const { token } = await post<{ token: string }>(`/v1/receivers/${receiver.id}/tokens`, {
    scopes: ['ssf.read', 'ssf.manage'],
  })
  const stream = {
    events_requested: Object.values(TYPES),
    delivery: endpoint === undefined ? { method: POLL } : { method: PUSH, endpoint_url: endpoint },
  }
  const { stream_id: streamId } = await post<{ stream_id: string }>('/ssf/streams', stream, token)
  return { streamId, token }
}
