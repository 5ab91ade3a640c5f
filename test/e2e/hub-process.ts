import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { listProcesses } from '../../src/demo/process-table.js'

export const HUB_ENTRY = fileURLToPath(new URL('../../src/main.js', import.meta.url))

/** A hub as a person starts it: its own process, folder and embedded PostgreSQL. */
export interface HubProcess {
  readonly url: string
  readonly managementUrl: string
  /** Its working folder; the data are in `.firebreak` below. */
  readonly folder: string
  stdout(): string
  /** The log, as written. */
  stderr(): string
  /** As when the program that read its output ends. */
  closeOutput(): void
  /** SIGTERM; answers the exit code. */
  stop(): Promise<number | null>
  /** Kills what is left and removes the folder. */
  remove(): Promise<void>
}

const READY_MS = 60_000

/** What a program needs of its surroundings, and none of the settings of whoever runs the tests. */
export function plainEnvironment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'USER', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH']
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}

export async function startHubProcess(settings: Record<string, string> = {}): Promise<HubProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-e2e-'))
  // As root the embedded PostgreSQL runs as another user, who must get through.
  chmodSync(folder, 0o755)
  const [port, managementPort] = await pickFreePorts(2)
  const output = { stdout: '', stderr: '' }
  const child = spawn(process.execPath, [HUB_ENTRY, 'serve'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...plainEnvironment(), PORT: `${port}`, MANAGEMENT_PORT: `${managementPort}`, ...settings },
  })
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  const managementUrl = `http://127.0.0.1:${managementPort}`
  const hub: HubProcess = {
    url: `http://127.0.0.1:${port}`,
    managementUrl,
    folder,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    closeOutput() {
      child.stdout.destroy()
      child.stderr.destroy()
    },
    async stop() {
      child.kill('SIGTERM')
      await ended(child)
      return child.exitCode
    },
    async remove() {
      // In order, for its PostgreSQL must end too; that of a hub that failed is still there.
      child.kill('SIGTERM')
      await ended(child)
      stopPostgresOf(folder)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  try {
    await waitUntilReady(child, managementUrl)
  } catch (error) {
    await hub.remove()
    throw new Error(`the hub did not get ready: ${output.stderr}${output.stdout}`, { cause: error })
  }
  return hub
}

/** All are held until all are known, so they differ. */
export async function pickFreePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

function stopPostgresOf(folder: string): void {
  for (const { pid } of listProcesses().filter(({ command }) => command.includes(folder))) {
    try {
      process.kill(pid, 'SIGINT')
    } catch {
      // It ended just now.
    }
  }
}

async function waitUntilReady(child: ChildProcess, managementUrl: string): Promise<void> {
  const until = performance.now() + READY_MS
  while (performance.now() < until) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    const answer = await fetch(`${managementUrl}/health/ready`).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer?.status === 200) return
    await sleep(50)
  }
  throw new Error(`it took over ${READY_MS} ms`)
}
