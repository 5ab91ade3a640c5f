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
  /** Writes one line of JSON and answers the next line that is printed. */
  ask(command: object): Promise<T>
  stop(): Promise<void>
}

/** Where `npm run setup:test` put it. */
function builtProgram(name: string): string {
  const file = join(INTEROP_CACHE, 'rust', 'debug', name)
  if (!existsSync(file)) throw new Error(`${name} is not built: run \`npm run setup:test\``)
  return file
}

/** Starts one of the Rust programs of this folder with its configuration. */
export function startPackage<T>(name: string, config: object): PackageProcess<T> {
  const child = spawn(builtProgram(name), [JSON.stringify(config)], {
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
      child.stdin.write(`${JSON.stringify(command)}\n`)
      return await next(`${name} answers ${JSON.stringify(command)}`, () => true, from)
    },
    async stop() {
      child.stdin.end()
      await exitOf(child)
    },
  }
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null
