import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { GuardSettings } from './guard.js'

export interface RunningChild {
  readonly pid: number
  /** Resolves when it has ended. */
  stop(): Promise<void>
}

/** The parent's end of one demo process that is ready. */
export interface DemoChild<R> extends RunningChild {
  readonly ready: R
  /** What it could not do, though it runs on. */
  problems(): readonly string[]
}

interface StartOptions {
  name: string
  /** File of the process, beside this one. */
  file: string
  settings: object
  signal: AbortSignal
  /** Called at once with the process, so that it is stopped even when it never gets ready. */
  onStarted(child: RunningChild): void
}

const STOP_MS = 3_000

/** Starts a process, hands it its settings over IPC and waits until it is ready. */
export async function startChild<R>(options: StartOptions): Promise<DemoChild<R>> {
  const child = fork(fileURLToPath(new URL(options.file, import.meta.url)), [], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
  })
  const problems: string[] = []
  const stop = () => stopChild(child)
  const pid = child.pid ?? -1
  options.onStarted({ pid, stop })
  const ready = await waitUntilReady<R>(child, { ...options, problems })
  return { pid, ready, problems: () => problems, stop }
}

function waitUntilReady<R>(child: ChildProcess, options: StartOptions & { problems: string[] }): Promise<R> {
  const { name, signal, settings, problems } = options
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2_000)
  })
  return new Promise<R>((resolve, reject) => {
    const fail = (reason: string) => reject(new Error(`${name} ${reason}`))
    const abort = () => reject(signal.reason as Error)
    child.once('error', (error) => fail(`did not start: ${error.message}`))
    child.once('exit', (code) => fail(`ended with code ${code}: ${problems.at(-1) ?? errors}`))
    child.on('message', (message: { ready?: R; failed?: string }) => {
      if (message.failed !== undefined) problems.push(message.failed)
      if (message.ready !== undefined) {
        signal.removeEventListener('abort', abort)
        resolve(message.ready)
      }
    })
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    child.send(settings)
  })
}

/** Closing the channel ends it; one that hangs is killed. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  if (child.connected) child.disconnect()
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await ended
  clearTimeout(timer)
}

/** The process that cleans up should this one be killed; in its own group, so that Ctrl-C cannot reach it. */
export async function startGuard(settings: GuardSettings): Promise<RunningChild> {
  const child = fork(fileURLToPath(new URL('./guard.js', import.meta.url)), [], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: [],
    detached: true,
  })
  child.send(settings)
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('exit', (code) => reject(new Error(`the guard process ended with code ${code}`)))
  })
  return {
    pid: child.pid ?? -1,
    async stop() {
      if (child.exitCode !== null) return
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
      child.send('done')
      await ended
    },
  }
}
