import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { exitOf, plainEnvironment } from '../support/hub-process.js'
import { ROOT } from '../support/source-files.js'
import { waitUntil } from '../support/wait.js'

export const INTEROP_CACHE = join(ROOT, '.cache', 'interop')

/** A program around a public package. It ends with its standard input, so it does not outlive the test. */
export interface PackageProcess<T> {
  /** One for each line of JSON that it printed, in order. */
  readonly lines: readonly T[]
  /** The first line, printed already or still to come, for which `isIt` answers true. */
  line(what: string, isIt: (line: T) => boolean): Promise<T>
  /** Writes one line, an object as JSON, and answers the next line that is printed. */
  ask(command: object | string): Promise<T>
  stop(): Promise<void>
}

/** Starts one of the Rust programs of this folder with its configuration. */
export function startPackage<T>(name: string, config: object): PackageProcess<T> {
  return startProgram<T>(join('rust', 'debug', name), [JSON.stringify(config)])
}

/** @param name below `.cache/interop`, where `npm run setup:test` put it */
export function startProgram<T>(name: string, args: readonly string[]): PackageProcess<T> {
  const file = join(INTEROP_CACHE, name)
  if (!existsSync(file)) throw new Error(`${name} is not built: run \`npm run setup:test\``)
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: plainEnvironment(),
  })
  const lines: T[] = []
  let stderr = ''
  createInterface({ input: child.stdout }).on('line', (line) => void lines.push(JSON.parse(line) as T))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })

  async function next(what: string, isIt: (line: T) => boolean, from = 0): Promise<T> {
    const look = () => {
      if (hasEnded(child)) throw new Error(`${name} has ended: ${stderr}`)
      return lines.slice(from).find(isIt)
    }
    const detail = () => `${name} printed ${JSON.stringify(lines)} ${stderr}`
    return await waitUntil(what, look, { detail })
  }

  return {
    lines,
    line: (what, isIt) => next(what, isIt),
    async ask(command) {
      const from = lines.length
      const text = typeof command === 'string' ? command : JSON.stringify(command)
      child.stdin.write(`${text}\n`)
      return await next(`${name} answers ${text}`, () => true, from)
    },
    async stop() {
      child.stdin.end()
      await exitOf(child)
    },
  }
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null
