const FIRST_MS = 500

/** How long to wait after the n-th failure in a row, in ms: twice as long each time, ±20 % so that hubs do not return in step. */
export function backoffMs(failures: number, maxMs: number, random: () => number = Math.random): number {
  const ms = Math.min(FIRST_MS * 2 ** (Math.max(1, failures) - 1), maxMs)
  return ms * (0.8 + 0.4 * random())
}

/** Resolves after `ms`, at once when the signal is aborted. */
export function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
