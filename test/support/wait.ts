import { setTimeout as delay } from 'node:timers/promises'

/**
 * Looks every 20 ms until the answer is truthy, and answers it.
 * @throws Error after `deadlineMs`, with what was waited for and, if given, what is known about it
 */
export async function waitUntil<T>(
  what: string,
  look: () => T | Promise<T>,
  options: { deadlineMs?: number; detail?: () => string } = {},
): Promise<NonNullable<T>> {
  const { deadlineMs = 30_000, detail } = options
  const end = performance.now() + deadlineMs
  for (;;) {
    const answer = await look()
    if (answer) return answer
    if (performance.now() > end) {
      throw new Error(`waited ${deadlineMs / 1000} s for: ${what}${detail ? `: ${detail()}` : ''}`)
    }
    await delay(20)
  }
}
