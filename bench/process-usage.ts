import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** One live process, as /proc tells it. */
export interface ProcessTimes {
  readonly pid: number
  readonly parent: number
  readonly command: string
  /** User and system time of its own, ms. */
  readonly ownMs: number
  /** The same of its children that have ended. */
  readonly endedChildrenMs: number
}

export const PARTS = ['hub', 'postgres', 'kafka'] as const
export type Part = (typeof PARTS)[number]
/** Main process of each part there is. The hub's own counts alone; of the others, their children too. */
export type PartPids = Readonly<Partial<Record<Part, number>>>

export interface Usage {
  /** CPU time since its start, ms. */
  readonly cpuMs: number
  readonly memoryMb: number
}

const tickMs = 1000 / ticksPerSecond()

function ticksPerSecond(): number {
  try {
    return Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  } catch {
    return 100
  }
}

/** One line of /proc/<pid>/stat. The name stands in brackets and may hold anything, brackets included. */
export function parseStat(stat: string, msPerTick: number): Omit<ProcessTimes, 'command'> {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = (from: number): number => (Number(fields[from]) + Number(fields[from + 1])) * msPerTick
  return {
    pid: Number.parseInt(stat, 10),
    parent: Number(fields[1]),
    ownMs: ticks(11),
    endedChildrenMs: ticks(13),
  }
}

/** Empty where there is no /proc. */
function listProcessTimes(): ProcessTimes[] {
  return readFolder('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = read(`/proc/${name}/stat`)
      const command = read(`/proc/${name}/cmdline`).replaceAll('\0', ' ')
      return stat ? [{ ...parseStat(stat, tickMs), command }] : []
    })
}

/** The child of that process whose command line holds the text. */
export function findChildPid(parent: number, text: string): number | undefined {
  return listProcessTimes().find((row) => row.parent === parent && row.command.includes(text))?.pid
}

/** Of a live process; undefined where there is no /proc. */
export function parentOf(pid: number): number | undefined {
  return listProcessTimes().find((row) => row.pid === pid)?.parent
}

export function measureParts(pids: PartPids): Partial<Record<Part, Usage>> {
  const rows = listProcessTimes()
  const usage: Partial<Record<Part, Usage>> = {}
  for (const part of PARTS) {
    const root = rows.find(({ pid }) => pid === pids[part])
    if (root)
      usage[part] = part === 'hub' ? usageOf([root], 0) : usageOf(familyOf(root, rows), root.endedChildrenMs)
  }
  return usage
}

function familyOf(root: ProcessTimes, rows: readonly ProcessTimes[]): ProcessTimes[] {
  const children = rows.filter(({ parent }) => parent === root.pid)
  return [root, ...children.flatMap((child) => familyOf(child, rows))]
}

/** Backends that ended have left their time with the postmaster. */
function usageOf(family: readonly ProcessTimes[], endedMs: number): Usage {
  return {
    cpuMs: family.reduce((sum, { ownMs }) => sum + ownMs, endedMs),
    memoryMb: family.reduce((sum, { pid }) => sum + memoryMbOf(pid), 0),
  }
}

/** Proportional: what PostgreSQL's processes share is counted once. Resident size where that is not told. */
function memoryMbOf(pid: number): number {
  const kb =
    /^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`)) ??
    /^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))
  return Number(kb?.[1] ?? 0) / 1024
}

function readFolder(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // The process ended while we looked.
    return ''
  }
}
