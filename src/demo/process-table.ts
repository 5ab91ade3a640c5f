import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'

export interface ProcessRow {
  pid: number
  parent: number
  command: string
}

/** Every live process; zombies are left out, since nothing of them runs. */
export function listProcesses(): ProcessRow[] {
  return existsSync('/proc/self/stat') ? fromProc() : fromPs()
}

function fromProc(): ProcessRow[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        // The name stands in brackets and may hold anything, brackets included.
        const [state = '', parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        if (state === 'Z' || state === 'X') return []
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        return [{ pid: Number(name), parent: Number(parent), command }]
      } catch {
        // It ended while we looked.
        return []
      }
    })
}

function fromPs(): ProcessRow[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,state=,args='], { encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => {
    const [, pid, parent, state, command] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? []
    if (!pid || state?.startsWith('Z')) return []
    return [{ pid: Number(pid), parent: Number(parent), command: command ?? '' }]
  })
}

/** The given processes, those whose command line names one of the folders, and all that these started. */
export function findFamily(
  rows: readonly ProcessRow[],
  pids: readonly number[],
  folders: readonly string[],
): ProcessRow[] {
  const family = new Map<number, ProcessRow>()
  const add = (row: ProcessRow) => {
    if (family.has(row.pid) || row.pid === process.pid) return
    family.set(row.pid, row)
    for (const child of rows) if (child.parent === row.pid) add(child)
  }
  for (const row of rows) {
    if (pids.includes(row.pid) || folders.some((folder) => row.command.includes(folder))) add(row)
  }
  return [...family.values()]
}
