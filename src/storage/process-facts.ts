import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import path from 'node:path'

export interface ProcessFacts {
  /** A zombie answers kill(pid, 0) like a living process, though it holds nothing any more. */
  readonly state: 'running' | 'zombie' | 'gone'
  /** Its arguments; one string where the system does not tell them apart. */
  readonly args: readonly string[]
  /** Its working directory, when we may see it. */
  readonly cwd?: string
}

const GONE: ProcessFacts = { state: 'gone', args: [] }
const hasProc = existsSync('/proc/self/stat')

export function inspectProcess(pid: number): ProcessFacts {
  return hasProc ? inspectProc(pid) : inspectWithPs(pid)
}

function inspectProc(pid: number): ProcessFacts {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is the program's name in brackets and may hold anything; the state follows the last bracket.
    const letter = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean)
    const cwd = tryReadlink(`/proc/${pid}/cwd`)
    const state = letter === 'Z' || letter === 'X' ? 'zombie' : 'running'
    return cwd === undefined ? { state, args } : { state, args, cwd }
  } catch {
    return GONE
  }
}

function tryReadlink(link: string): string | undefined {
  try {
    return readlinkSync(link)
  } catch {
    return undefined
  }
}

function inspectWithPs(pid: number): ProcessFacts {
  const { stdout } = spawnSync('ps', ['-o', 'state=,command=', '-p', String(pid)], { encoding: 'utf8' })
  const [, state, command] = /^(\S+)\s+(.*)$/.exec(stdout.trim()) ?? []
  if (!state) return GONE
  return { state: state.startsWith('Z') ? 'zombie' : 'running', args: (command ?? '').split(' ') }
}

/** True when that process lives and is a PostgreSQL server on that data folder: nothing less is believed. */
export function isPostgresOn(pid: number, dataDir: string): boolean {
  const { state, args, cwd } = inspectProcess(pid)
  if (state !== 'running') return false
  // The server shows itself as `/path/postgres -D …`, its children as `postgres: writer`.
  const program = path.basename((args[0] ?? '').split(':')[0] ?? '')
  if (program !== 'postgres') return false
  const real = tryRealpath(dataDir)
  // The server makes the data folder its working directory.
  if (cwd !== undefined) return cwd === real
  return args.includes(dataDir) || args.includes(real)
}

function tryRealpath(folder: string): string {
  try {
    return realpathSync(folder)
  } catch {
    return folder
  }
}

/** Living PostgreSQL processes on that data folder, children of a killed server included. Empty without /proc. */
export function postgresProcessesOn(dataDir: string): number[] {
  if (!hasProc) return []
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && isPostgresOn(pid, dataDir))
}

/** True while the process exists and has not ended. */
export function isRunning(pid: number): boolean {
  return inspectProcess(pid).state === 'running'
}
