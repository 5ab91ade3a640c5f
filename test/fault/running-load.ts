import { setTimeout as delay } from 'node:timers/promises'
import type { Scene } from '../support/hub-scene.js'
import { type LoadResult, pushLoad } from '../support/set-producer.js'
import {
  ACCOUNT_DISABLED,
  ACCOUNT_ENABLED,
  SESSION_ESTABLISHED,
  SESSION_REVOKED,
} from '../support/upstream.js'
import { waitUntil } from '../support/wait.js'

export interface RunningLoad {
  readonly accepted: number
  /** Waits until so many more are accepted. Throws what ended the load. */
  goesOn(count: number, what: string): Promise<void>
  /** Lets what is under way end. */
  stop(): Promise<LoadResult>
}

export const LOAD_TYPES = [SESSION_REVOKED, SESSION_ESTABLISHED, ACCOUNT_DISABLED, ACCOUNT_ENABLED]
/** About 60 SETs a second: enough to be always under way, little enough for two slow cores. */
const BURST = 12
const PAUSE_MS = 150
/**
 * The last of a burst loosens access of somebody whom nothing tightens: it must always come. All the others may be taken
 * back by a tightening SET of the same burst.
 */
const subjectOf = (number: number) =>
  number === BURST - 1 ? 'opened only' : `user-${Math.floor(number / LOAD_TYPES.length)}`

/** SETs of all effects about few subjects, until it is stopped; abandoned, it leaves what the hub does not take. */
export function startLoad(options: {
  scene: Pick<Scene, 'upstream' | 'ledger'>
  urls: readonly string[]
  random(): number
}): { load: RunningLoad; abandon(): void } {
  const { urls, random } = options
  const { upstream, ledger } = options.scene
  let stopping = false
  let abandoned = false
  let failed: Error | undefined
  let accepted = 0
  const refused = new Map<number, number>()

  async function run(): Promise<void> {
    while (!stopping) {
      const chunk = await pushLoad({
        ...{ upstream, ledger, urls, subjectOf, count: BURST, types: LOAD_TYPES },
        giveUp: () => abandoned,
        onAccepted() {
          accepted += 1
        },
      })
      for (const [status, count] of chunk.refused) refused.set(status, (refused.get(status) ?? 0) + count)
      await delay(PAUSE_MS * (0.5 + random()))
    }
  }

  const running = run()
  // Whoever stops it hears of its failure; until then it must not end the process.
  running.catch((error: unknown) => {
    failed = error instanceof Error ? error : new Error(String(error))
  })
  const load: RunningLoad = {
    get accepted() {
      return accepted
    },
    async goesOn(count, what) {
      const before = accepted
      await waitUntil(`SETs are taken ${what}`, () => {
        if (failed) throw failed
        return accepted >= before + count
      })
    },
    async stop() {
      stopping = true
      await running
      return { accepted, refused }
    },
  }
  return {
    load,
    abandon() {
      stopping = true
      abandoned = true
    },
  }
}
