import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startGuard } from '../src/demo/child-process.js'
import { removeFolders } from '../src/demo/workspace.js'
import { freePorts } from '../test/support/kafka.js'
import type { SystemUnderTest } from './load.js'
import { findChildPid } from './process-usage.js'
import type { SourceIdentity } from './source-identity.js'

export interface HubUnderTest extends SystemUnderTest {
  stop(): Promise<void>
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

interface Running {
  readonly child: ChildProcess
  readonly url: string
  readonly managementUrl: string
  readonly adminToken: string
  readonly logFile: string
}

// dist/bench/hub-under-test.js → dist/src/main.js.
const ENTRY = fileURLToPath(new URL('../src/main.js', import.meta.url))
const READY_MS = 60_000
const DRAIN_MS = 17_000
const PARALLEL_CALLS = 8
const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const PUSH = 'urn:ietf:rfc:8935'
/** High enough that the source's budget is not what is measured. */
const BUDGET_PER_S = 1_000_000
const KEPT_NAMES = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH']

/** A hub of its own in a folder of its own, with the source registered and a stream for every endpoint. */
export async function startHubUnderTest(options: HubOptions): Promise<HubUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-bench-'))
  // Run as root, the hub gives PostgreSQL to another user, who must be able to pass.
  chmodSync(folder, 0o711)
  const hub = await launch(folder, options)
  const guard = await startGuard({ hubPid: hub.child.pid ?? -1, folder })
  const stop = async (): Promise<void> => {
    await stopHub(hub.child)
    await guard.stop()
    removeFolders(folder)
  }
  try {
    await waitUntilReady(hub, options.signal)
    const ingestUrl = await registerSource(hub, options.source)
    await subscribe(hub, options)
    const pid = hub.child.pid
    const postgres = pid === undefined ? undefined : findChildPid(pid, 'postgres')
    return {
      name: options.kafka ? 'hub (Kafka log)' : 'hub (Postgres log)',
      ingestUrl,
      streams: options.endpoints.length,
      pids: {
        ...(pid === undefined ? {} : { hub: pid }),
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

async function launch(folder: string, { kafka, profileFolder }: HubOptions): Promise<Running> {
  const [port, managementPort] = (await freePorts(2)) as [number, number]
  const adminToken = `fbk_admin_${randomBytes(32).toString('base64url')}`
  const logFile = join(folder, 'hub.log')
  const log = openSync(logFile, 'a')
  const profile = profileFolder ? ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`] : []
  const child = spawn(process.execPath, [...profile, ENTRY, 'serve'], {
    cwd: folder,
    // Its own process group: Ctrl-C must reach the bench, which then drains the hub.
    detached: true,
    stdio: ['ignore', log, log],
    env: {
      // The user's own hub settings must not reach this hub.
      ...Object.fromEntries(KEPT_NAMES.map((name) => [name, process.env[name]])),
      PORT: String(port),
      MANAGEMENT_PORT: String(managementPort),
      DATA_DIR: join(folder, 'data'),
      FIREBREAK_ADMIN_TOKEN: adminToken,
      FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
      LOG_LEVEL: 'warn',
      LOG_FORMAT: 'json',
      ...(kafka ? { KAFKA_BROKERS: kafka.brokers.join(','), KAFKA_TOPIC_PREFIX: `bench-${port}` } : {}),
    },
  })
  closeSync(log)
  const url = `http://127.0.0.1:${port}`
  return { child, url, managementUrl: `http://127.0.0.1:${managementPort}`, adminToken, logFile }
}

async function waitUntilReady(hub: Running, signal: AbortSignal): Promise<void> {
  const until = Date.now() + READY_MS
  while (Date.now() < until) {
    signal.throwIfAborted()
    if (hub.child.exitCode !== null || hub.child.signalCode !== null) {
      throw new Error(`the hub ended at its start: ${lastLines(hub.logFile)}`)
    }
    const response = await fetch(`${hub.managementUrl}/health/ready`).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.status === 200) return
    await sleep(50, undefined, { signal })
  }
  throw new Error(`the hub was not ready in ${READY_MS / 1000} s: ${lastLines(hub.logFile)}`)
}

function lastLines(file: string): string {
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  return lines.slice(-5).join(' | ').slice(-1_000) || 'it said nothing'
}

async function registerSource(hub: Running, source: SourceIdentity): Promise<string> {
  const jwk = { ...source.publicJwk, kid: source.kid, alg: 'ES256', use: 'sig' }
  const { id } = await call<{ id: string }>(hub, hub.adminToken, '/v1/transmitters', {
    name: 'bench',
    issuer: source.issuer,
    audience: source.audience,
    jwks: { keys: [jwk] },
    algorithms: ['ES256'],
    budget_per_s: BUDGET_PER_S,
  })
  return `${hub.url}/ingest/${id}`
}

async function subscribe(hub: Running, { endpoints, signal }: HubOptions): Promise<void> {
  const left = endpoints.map((endpoint, index) => ({ endpoint, index }))
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      signal.throwIfAborted()
      await subscribeOne(hub, next)
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_CALLS }, work))
}

/** RS256 is the receiver's default signature, as the CAEP interoperability profile wants it. */
async function subscribeOne(hub: Running, { endpoint, index }: { endpoint: string; index: number }) {
  const receiver = await call<{ id: string }>(hub, hub.adminToken, '/v1/receivers', {
    name: `receiver ${index}`,
    signing_alg: 'RS256',
  })
  const { token } = await call<{ token: string }>(
    hub,
    hub.adminToken,
    `/v1/receivers/${receiver.id}/tokens`,
    {
      scopes: ['ssf.read', 'ssf.manage'],
    },
  )
  await call(hub, token, '/ssf/streams', {
    events_requested: [SESSION_REVOKED],
    delivery: { method: PUSH, endpoint_url: endpoint },
  })
}

async function call<T>(hub: Running, token: string, path: string, body: object): Promise<T> {
  const response = await fetch(hub.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(30_000),
    body: JSON.stringify(body),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`POST ${path} answered ${response.status}: ${text.slice(0, 300)}`)
  return JSON.parse(text) as T
}

async function stopHub(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), DRAIN_MS)
  await ended
  clearTimeout(timer)
}
