import { setTimeout as sleep } from 'node:timers/promises'
import { type RunningChild, startChild, startGuard } from './child-process.js'
import { type DemoHub, startDemoHub } from './demo-hub.js'
import type { DemoResult } from './demo-result.js'
import { playScenario, type Stage } from './demo-scenario.js'
import { findFamily, listProcesses, type ProcessRow } from './process-table.js'
import { createWorkspace, type Workspace } from './workspace.js'

export interface DemoOptions {
  /** The hub's program, run as `node <hubEntry> serve`. */
  hubEntry: string
  environment: Readonly<Record<string, string | undefined>>
  /** How long a point may let the revoked session in before the demo gives up. */
  patienceMs?: number
  /** Ends the demo early; everything is cleaned up all the same. */
  signal: AbortSignal
  /** Runs one step and shows it. */
  step<T>(label: string, work: () => Promise<T>): Promise<T>
  /** Something worth a line while a step is under way. */
  note(text: string): void
}

interface Started {
  workspace: Workspace
  hub?: DemoHub
  guard?: RunningChild
  children: RunningChild[]
}

const PATIENCE_MS = 20_000
const GONE_MS = 5_000

/**
 * The whole story on a hub of its own, in a folder of its own. Leaves nothing behind, however it ends.
 * @throws what stopped it, after the clean-up; the signal's reason when it was ended early
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const startedAt = performance.now()
  const started: Started = { workspace: createWorkspace(), children: [] }
  let played: Awaited<ReturnType<typeof playScenario>>
  try {
    played = await play(options, started)
  } catch (error) {
    await cleanUp(started)
    throw error
  }
  const leftBehind = await options.step('stop everything and look for what is left', () => cleanUp(started))
  const problems = [...played.problems, ...leftBehind.map((what) => `left behind: ${what}`)]
  return {
    ok: problems.length === 0,
    problems,
    txn: played.txn,
    points: played.points,
    total_ms: Math.round(performance.now() - startedAt),
    left_behind: leftBehind,
  }
}

async function play(options: DemoOptions, started: Started) {
  const { signal, hubEntry, environment } = options
  const folder = started.workspace.folder
  const hub = await options.step('a hub on its embedded PostgreSQL, in a new folder', async () => {
    const starting = await startDemoHub({ entry: hubEntry, folder, environment })
    started.hub = starting
    started.guard = await startGuard({ hubPid: starting.pid, folder })
    await starting.waitUntilReady(signal)
    return starting
  })
  const stage: Stage = {
    hub,
    signal,
    patienceMs: options.patienceMs ?? PATIENCE_MS,
    step: (label, work) => options.step(label, work),
    note: (text) => options.note(text),
    start: (child) =>
      startChild({
        ...child,
        file: `./${child.file}`,
        signal,
        onStarted: (running) => void started.children.push(running),
      }),
  }
  const played = await playScenario(stage)
  signal.throwIfAborted()
  return played
}

/** @returns processes and folders that were still there after everything was told to end; the processes are killed */
async function cleanUp({ workspace, hub, guard, children }: Started): Promise<string[]> {
  const pids = [...children.map(({ pid }) => pid), ...(hub ? [hub.pid] : [])]
  // Taken while the hub lives, when its Postgres can be found by its parent.
  const family = findFamily(listProcesses(), pids, workspace.folders())
  await Promise.all(children.map((child) => child.stop()))
  await hub?.stop()
  const left = await waitUntilGone(family)
  for (const { pid } of left) killHard(pid)
  const folders = workspace.remove()
  // Last: until here it would have cleaned up after a kill.
  await guard?.stop()
  return [...left.map(({ pid, command }) => `process ${pid} (${command.slice(0, 200)})`), ...folders]
}

async function waitUntilGone(family: readonly ProcessRow[]): Promise<ProcessRow[]> {
  const until = performance.now() + GONE_MS
  for (;;) {
    const alive = new Map(listProcesses().map((row) => [row.pid, row.command]))
    // The same pid with another program is somebody else by now.
    const left = family.filter(({ pid, command }) => alive.get(pid) === command)
    if (left.length === 0 || performance.now() > until) return left
    await sleep(50)
  }
}

function killHard(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended just now.
  }
}
