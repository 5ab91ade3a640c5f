import { type HubUnderTest, startHubUnderTest } from '../hub-under-test.js'
import { type Cleanups, type Kit, openBare, type Tools } from '../kit.js'
import type { SystemUnderTest } from '../load.js'

/** What a measurement of a promise gets. */
export interface PromiseContext extends Tools {
  readonly kit: Kit
  readonly cleanups: Cleanups
  /** Shorter and fewer: to see that it runs, not for figures. */
  readonly quick: boolean
  readonly profileFolder?: string
}

export interface Scene {
  readonly hub: HubUnderTest
  readonly bare: SystemUnderTest
}

/** A hub (Postgres log) and a bare process with that many push streams each. */
export async function openScene(
  { kit, signal, cleanups, profileFolder }: PromiseContext,
  { streams, lastApart = false }: { streams: number; lastApart?: boolean },
): Promise<Scene> {
  const endpoints = await kit.sink.ask<string[]>('open', { streams, lastApart })
  const bare = await openBare(kit, endpoints, { signal, cleanups })
  const hub = await startHubUnderTest({
    source: kit.source,
    endpoints,
    signal,
    ...(profileFolder === undefined ? {} : { profileFolder }),
  })
  cleanups.push(() => hub.stop())
  return { hub, bare }
}
