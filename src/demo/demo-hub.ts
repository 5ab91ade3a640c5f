import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A hub of the demo's own, with its own Postgres and its own folder; known by its HTTP surfaces alone. */
export interface DemoHub {
  readonly pid: number
  readonly url: string
  /** Where health and metrics are. */
  readonly managementUrl: string
  /** Throws with the hub's own reason when it ends or is not ready in time. */
  waitUntilReady(signal: AbortSignal): Promise<void>
  /** The hub API as its admin, or by another's token; throws on every answer that is not 2xx. */
  call<T>(method: 'GET' | 'POST', path: string, body?: object, token?: string): Promise<T>
  /** SIGTERM drains it; one that does not end is killed. */
  stop(): Promise<void>
}

export interface DemoHubOptions {
  /** The program, as node runs it. */
  entry: string
  folder: string
  environment: Readonly<Record<string, string | undefined>>
  /** Beside its own, by name. */
  settings?: Readonly<Record<string, string>>
  /** For node, before the program. */
  nodeOptions?: readonly string[]
}

const READY_MS = 45_000
const DRAIN_MS = 17_000
/** What a program needs from its surroundings; the user's own hub settings must not reach this hub. */
const KEPT_NAMES = [
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  'NODE_OPTIONS',
]

export async function startDemoHub(options: DemoHubOptions): Promise<DemoHub> {
  const { entry, folder, environment } = options
  const [port, managementPort] = await freePorts()
  const adminToken = `fbk_admin_${randomBytes(32).toString('base64url')}`
  const logFile = join(folder, 'hub.log')
  mkdirSync(folder, { recursive: true })
  const log = openSync(logFile, 'a')
  const child = spawn(process.execPath, [...(options.nodeOptions ?? []), entry, 'serve'], {
    cwd: folder,
    // Its own process group: Ctrl-C must reach the demo, which then drains the hub.
    detached: true,
    stdio: ['ignore', log, log],
    env: {
      ...Object.fromEntries(KEPT_NAMES.map((name) => [name, environment[name]])),
      PORT: String(port),
      MANAGEMENT_PORT: String(managementPort),
      DATA_DIR: join(folder, 'data'),
      FIREBREAK_ADMIN_TOKEN: adminToken,
      FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
      LOG_LEVEL: 'warn',
      ...options.settings,
    },
  })
  closeSync(log)
  const url = `http://127.0.0.1:${port}`
  return {
    pid: child.pid ?? -1,
    url,
    managementUrl: `http://127.0.0.1:${managementPort}`,
    waitUntilReady: (signal) => waitUntilReady(child, { signal, logFile, managementPort }),
    call: (method, path, body, token = adminToken) => callHub({ url, token }, { method, path, body }),
    stop: () => stopHub(child),
  }
}

async function waitUntilReady(
  child: ChildProcess,
  { signal, logFile, managementPort }: { signal: AbortSignal; logFile: string; managementPort: number },
): Promise<void> {
  const until = Date.now() + READY_MS
  while (Date.now() < until) {
    signal.throwIfAborted()
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the hub ended at its start: ${lastLines(logFile)}`)
    }
    const response = await fetch(`http://127.0.0.1:${managementPort}/health/ready`).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.status === 200) return
    await sleep(50, undefined, { signal })
  }
  throw new Error(`the hub was not ready in ${READY_MS / 1000} s: ${lastLines(logFile)}`)
}

function lastLines(file: string): string {
  return (
    readFileSync(file, 'utf8').trim().split('\n').slice(-5).join(' | ').slice(-1_000) || 'it said nothing'
  )
}

async function callHub<T>(
  hub: { url: string; token: string },
  { method, path, body }: { method: string; path: string; body: object | undefined },
): Promise<T> {
  const response = await fetch(hub.url + path, {
    method,
    headers: { authorization: `Bearer ${hub.token}`, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(30_000),
    ...(body && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text.slice(0, 300)}`)
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

/** Two ports that were free a moment ago; both are held until both are known, so they differ. */
async function freePorts(): Promise<[number, number]> {
  const servers = await Promise.all([listenAnywhere(), listenAnywhere()])
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return [ports[0] as number, ports[1] as number]
}

function listenAnywhere() {
  const server = createServer()
  return new Promise<typeof server>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}
