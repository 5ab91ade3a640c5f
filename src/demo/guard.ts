import { setTimeout as sleep } from 'node:timers/promises'
import { findFamily, listProcesses } from './process-table.js'
import { foldersOf, removeFolders } from './workspace.js'

/**
 * Outlives the demo by a moment: when the demo is killed outright, this ends its hub and removes its folder.
 * The demo says `done` when it has done so itself.
 */
export interface GuardSettings {
  hubPid: number
  /** The run's folder; the hub's Postgres is the process whose command line names it. */
  folder: string
}

const DRAIN_MS = 20_000

let settings: GuardSettings | undefined
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('message', (message: GuardSettings | 'done') => {
  if (message === 'done') process.exit(0)
  settings = message
  process.send?.({ ready: {} })
})
process.on('disconnect', () => {
  void cleanUp().finally(() => process.exit(0))
})

async function cleanUp(): Promise<void> {
  if (!settings) return
  const { hubPid, folder } = settings
  // Taken while the hub lives: its Postgres is found by its parent or by its folder.
  const family = findFamily(listProcesses(), [hubPid], foldersOf(folder))
  signalProcess(hubPid, 'SIGTERM')
  const pids = new Set(family.map(({ pid }) => pid))
  const alive = () => listProcesses().filter(({ pid }) => pids.has(pid))
  for (let waitedMs = 0; waitedMs < DRAIN_MS && alive().length > 0; waitedMs += 100) await sleep(100)
  for (const { pid } of alive()) signalProcess(pid, 'SIGKILL')
  removeFolders(folder)
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Already gone, which is what was wanted.
  }
}
