import { execFileSync } from 'node:child_process'

export interface ListedProcess {
  readonly pid: number
  readonly command: string
}

/** Processes that run now and whose command line has this text; the dead that nobody has asked after do not count. */
export function processesWith(text: string): ListedProcess[] {
  const table = execFileSync('ps', ['-eo', 'pid=,stat=,args='], {
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  })
  return table.split('\n').flatMap((line) => {
    const [, pid, state, command] = /^\s*(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? []
    if (!pid || !state || !command || state.startsWith('Z') || !command.includes(text)) return []
    return [{ pid: Number(pid), command }]
  })
}

export function isAlive(pid: number): boolean {
  try {
    const state = execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
    return !state.startsWith('Z')
  } catch {
    // ps answers 1 when there is no such process.
    return false
  }
}
