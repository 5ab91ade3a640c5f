import { type BenchChild, startChild } from './child.js'
import { createLoadRunner, type LoadKit, type RunLoad, type SystemUnderTest } from './load.js'
import { createSourceIdentity } from './source-identity.js'

/** What must be undone, whatever happens; the last first. */
export type Cleanups = (() => Promise<unknown>)[]

/** Senders and receivers of a run. */
export interface Kit extends LoadKit {
  readonly runLoad: RunLoad
}

/** What a command needs of the run that it is part of. */
export interface Tools {
  readonly signal: AbortSignal
  /** Progress, for who waits. */
  say(text: string): void
}

/**
 * Runs the work, then undoes what it left in `cleanups`, whatever became of it. On abort at once: what is under way fails when its
 * servers are gone.
 */
export async function withCleanups<T>(
  signal: AbortSignal,
  work: (cleanups: Cleanups) => Promise<T>,
): Promise<T> {
  const cleanups: Cleanups = []
  let onAbort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([aborted, work(cleanups)])
  } finally {
    signal.removeEventListener('abort', onAbort)
    for (const cleanup of cleanups.splice(0).reverse())
      await cleanup().catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  }
}

export function openKit(signal: AbortSignal, cleanups: Cleanups): Kit {
  const keep = (child: BenchChild): BenchChild => {
    cleanups.push(() => child.stop())
    return child
  }
  const source = createSourceIdentity()
  const parts = {
    driver: keep(startChild('driver', { signal })),
    sink: keep(startChild('sink', { signal })),
  }
  return { ...parts, source, runLoad: createLoadRunner({ ...parts, source }) }
}

/** The baseline in a process of its own, with these endpoints. */
export async function openBare(
  { source }: Kit,
  endpoints: readonly string[],
  { signal, cleanups }: { signal: AbortSignal; cleanups: Cleanups },
): Promise<SystemUnderTest> {
  const child = startChild('bare', { signal })
  cleanups.push(() => child.stop())
  const { publicJwk, kid, issuer, audience } = source
  const ingestUrl = await child.ask<string>('serve', { publicJwk, kid, issuer, audience, endpoints })
  return { name: 'bare', ingestUrl, streams: endpoints.length, pids: { hub: child.pid } }
}
