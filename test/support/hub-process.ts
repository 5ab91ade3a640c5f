import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { isAlive, processesWith } from './process-list.js'
import { waitUntil } from './wait.js'
import { startWatchdog } from './watchdog.js'

/** A hub as a child process, known by its HTTP surfaces, its signals and its output alone. */
export interface HubProcess {
  readonly url: string
  readonly managementUrl: string
  readonly port: number
  /** Its working folder, with the data in `.firebreak` below, as in a clone. */
  readonly folder: string
  readonly dataDir: string
  /** Unset by `env`, the hub makes one of its own. */
  readonly adminToken: string
  pid(): number
  /** False before its first start and after its end. */
  isUp(): boolean
  /** Starts it, for the first time or again: same ports, same data. Does not wait. Throws once it is removed. */
  start(): void
  /** Waits until /health/ready answers 200. */
  ready(): Promise<void>
  /** What /metrics says. Some figures start anew with each answer, so all that ask should ask here. */
  metrics(options?: { signal?: AbortSignal }): Promise<string>
  signal(signal: NodeJS.Signals): void
  /** What a terminal does at Ctrl-C: the signal goes to the whole process group. */
  signalGroup(signal: NodeJS.Signals): void
  /** Waits for the end of the process. `code` is null when a signal ended it. */
  ended(deadlineMs?: number): Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Standard output and error of all its starts, in order of arrival. */
  output(): string
  stdout(): string
  stderr(): string
  /** As when the program that read its output ends. */
  closeOutput(): void
  /** Pid of the embedded Postgres; undefined when none runs on the data. */
  postgresPid(): number | undefined
  /** Ends whatever still runs and removes the folder. */
  remove(): Promise<void>
}

export interface HubProcessOptions {
  env?: Readonly<Record<string, string>>
  /** The program; default: this repository's. */
  entry?: string
  /** Whoever gives a folder cleans it up; default: a new one, removed at the end. */
  dataDir?: string
  port?: number
}

export const HUB_ENTRY = fileURLToPath(new URL('../../src/main.js', import.meta.url))
const READY_MS = 60_000
const KEPT_NAMES = ['PATH', 'HOME', 'USER', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH']

/** What a program needs of its surroundings, and none of the settings of whoever runs the tests. */
export function plainEnvironment(): Record<string, string> {
  return Object.fromEntries(
    KEPT_NAMES.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
  )
}

/** Waits for the end of a child, should it not have ended. @returns its exit code, null after a signal */
export async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.exitCode
}

export async function createHubProcess(options: HubProcessOptions = {}): Promise<HubProcess> {
  const folder = await mkdtemp(path.join(tmpdir(), 'firebreak-hub-'))
  // Postgres runs as another user when the tests run as root.
  await chmod(folder, 0o711)
  const dataDir = options.dataDir ?? path.join(folder, '.firebreak')
  const port = options.port ?? (await pickFreePort())
  let managementPort = await pickFreePort()
  while (managementPort === port) managementPort = await pickFreePort()
  const adminToken = 'fbk_op_process-level-tests-only'
  const watchdog = startWatchdog(folder, { marks: 'main.js serve' })
  let child: ChildProcess | undefined
  let removed = false
  let output = ''
  let stdout = ''
  let stderr = ''

  function current(): ChildProcess & { pid: number } {
    if (child?.pid === undefined) throw new Error('the hub was not started')
    return child as ChildProcess & { pid: number }
  }

  const hasEnded = () => !child || child.exitCode !== null || child.signalCode !== null

  const hub: HubProcess = {
    url: `http://127.0.0.1:${port}`,
    managementUrl: `http://127.0.0.1:${managementPort}`,
    port,
    folder,
    dataDir,
    adminToken,
    pid: () => current().pid,
    isUp: () => !hasEnded(),
    start() {
      // Who waits for its end may be about to start it again.
      if (removed) throw new Error('the hub was removed')
      child = spawn(process.execPath, [options.entry ?? HUB_ENTRY, 'serve'], {
        cwd: folder,
        // A process group of its own, as a terminal gives a command.
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          ...plainEnvironment(),
          PORT: String(port),
          MANAGEMENT_PORT: String(managementPort),
          DATA_DIR: dataDir,
          FIREBREAK_ADMIN_TOKEN: adminToken,
          FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
          LOG_FORMAT: 'json',
          ...options.env,
        },
      })
      watchdog.watch(child.pid)
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        output += text
        stdout += text
      })
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        output += text
        stderr += text
      })
    },
    async ready() {
      await waitUntil(
        'the hub is ready',
        async () => {
          if (hasEnded()) throw new Error(`the hub ended at its start: ${output.slice(-2_000)}`)
          return await answersReady(`${hub.managementUrl}/health/ready`)
        },
        { deadlineMs: READY_MS, detail: () => output.slice(-2_000) },
      )
    },
    async metrics({ signal = AbortSignal.timeout(10_000) } = {}) {
      const response = await fetch(`${hub.managementUrl}/metrics`, { signal })
      return await response.text()
    },
    signal: (signal) => void current().kill(signal),
    signalGroup: (signal) => void process.kill(-current().pid, signal),
    async ended(deadlineMs = 20_000) {
      await waitUntil('the hub has ended', hasEnded, { deadlineMs, detail: () => output.slice(-2_000) })
      const { exitCode, signalCode } = current()
      return { code: exitCode, signal: signalCode }
    },
    output: () => output,
    stdout: () => stdout,
    stderr: () => stderr,
    closeOutput() {
      child?.stdout?.destroy()
      child?.stderr?.destroy()
    },
    postgresPid() {
      const pid = recordedPostgres(dataDir)
      return pid !== undefined && isAlive(pid) ? pid : undefined
    },
    async remove() {
      removed = true
      child?.kill('SIGKILL')
      if (child) await exitOf(child)
      if (!options.dataDir) await endPostgres(dataDir)
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
      await watchdog.dismiss()
    },
  }
  return hub
}

export async function startHub(options: HubProcessOptions = {}): Promise<HubProcess> {
  const hub = await createHubProcess(options)
  try {
    hub.start()
    await hub.ready()
    return hub
  } catch (error) {
    await hub.remove()
    throw error
  }
}

/** Root of the cluster of a DATA_DIR: inside it, or where the hub says that it went. */
export function clusterRoot(dataDir: string): string {
  const location = path.join(dataDir, 'postgres.location')
  return existsSync(location) ? readFileSync(location, 'utf8').trim() : path.join(dataDir, 'postgres')
}

function recordedPostgres(dataDir: string): number | undefined {
  try {
    const file = path.join(clusterRoot(dataDir), 'data', 'postmaster.pid')
    return Number(readFileSync(file, 'utf8').split('\n')[0]) || undefined
  } catch {
    return undefined
  }
}

/** Ends what runs on the data of a DATA_DIR. */
export async function endPostgres(dataDir: string): Promise<void> {
  const data = path.join(clusterRoot(dataDir), 'data')
  // By the command line, so that a pid in an old file is never believed.
  for (const { pid } of processesWith(data)) process.kill(pid, 'SIGQUIT')
  await waitUntil('Postgres has ended', () => processesWith(data).length === 0)
}

async function answersReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
    await response.arrayBuffer()
    return response.status === 200
  } catch {
    return false
  }
}
