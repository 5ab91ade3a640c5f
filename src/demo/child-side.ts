/**
 * What every demo process does with the one that started it: takes its settings from the IPC channel (secrets
 * belong neither in arguments nor in the environment), says when it is ready, and ends when the channel does.
 */
export async function receiveSettings<T>(): Promise<T> {
  // Ctrl-C reaches the whole process group; the demo itself decides who ends when.
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit(0))
  return new Promise((resolve) => process.once('message', (settings) => resolve(settings as T)))
}

export function announceReady(facts: Record<string, unknown>): void {
  process.send?.({ ready: facts })
}

/** The demo shows the reason; nobody reads the standard error of a child. */
export function announceFailure(error: unknown): void {
  process.send?.({ failed: error instanceof Error ? error.message : String(error) })
}
