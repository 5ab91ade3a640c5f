import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FaultRig } from './rig.js'

const PRELOAD = new URL('shift-clock.js', import.meta.url).href

/** The clock of a hub's machine, in the hands of a row. */
export interface HubClock {
  /** Settings of the hubs that live by this clock. */
  readonly env: Record<string, string>
  /** How far it is wrong, in ms. `monotonicMs` may only grow: so much time seems to have gone by. */
  shift(shift: { wallMs?: number; monotonicMs?: number }): Promise<void>
}

export async function createHubClock(rig: FaultRig): Promise<HubClock> {
  const folder = await mkdtemp(join(tmpdir(), 'firebreak-clock-'))
  rig.atEnd(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'shift')
  const now = { wallMs: 0, monotonicMs: 0 }
  return {
    env: { NODE_OPTIONS: `--import=${PRELOAD}`, CLOCK_SHIFT_FILE: file },
    async shift(shift) {
      Object.assign(now, shift)
      await writeFile(`${file}.next`, `${now.wallMs} ${now.monotonicMs}`)
      await rename(`${file}.next`, file)
    },
  }
}
