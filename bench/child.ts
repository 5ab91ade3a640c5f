import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { stopChild } from '../src/demo/child-process.js'
import type { CommandAnswer } from './command-child.js'

/** The parent's side of one helper process. */
export interface BenchChild {
  readonly pid: number
  /** Sends a command and waits for its answer. Throws when the child fails at it or ends, or on abort. */
  ask<T>(command: string, settings?: object): Promise<T>
  stop(): Promise<void>
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
}

/** Starts a helper process of this folder; it ends when its channel closes, however this process ends. */
export function startChild(name: string, options: { signal: AbortSignal }): BenchChild {
  const child = fork(fileURLToPath(new URL(`./${name}.js`, import.meta.url)), [], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: [],
  })
  const waiting = new Map<number, Waiting>()
  let lastId = 0
  const failAll = (error: Error): void => {
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  child.on('message', ({ id, value, error }: CommandAnswer) => {
    const asked = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) asked?.resolve(value)
    else asked?.reject(new Error(`${name}: ${error}`))
  })
  const onAbort = (): void => failAll(options.signal.reason as Error)
  options.signal.addEventListener('abort', onAbort, { once: true })
  child.on('error', failAll)
  child.on('exit', (code, killed) => {
    options.signal.removeEventListener('abort', onAbort)
    failAll(new Error(`the ${name} process ended (${killed ?? code})`))
  })
  return {
    pid: child.pid ?? -1,
    ask<T>(command: string, settings: object = {}): Promise<T> {
      options.signal.throwIfAborted()
      const id = ++lastId
      return new Promise<T>((resolve, reject) => {
        waiting.set(id, { resolve: (value) => resolve(value as T), reject })
        child.send({ id, command, settings })
      })
    },
    stop: () => stopChild(child),
  }
}
