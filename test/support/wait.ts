import { setTimeout as delay } from 'node:timers/promises'

/**
 * Waits for a condition, asking every 20 ms.
 * @throws Error after `deadlineMs`, with what was waited for and, if given, what is known about it
 */
export async function waitUntil(
  what: string,
  holds: () => boolean | Promise<boolean>,
  options: { deadlineMs?: number; detail?: () => string } = {},
): Promise<void> {
  const { deadlineMs = 30_000, detail } = options
  const end = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > end) {
      throw new Error(`waited ${deadlineMs / 1000} s until ${what}${detail ? `: ${detail()}` : ''}`)
    }
    await delay(20)
  }
}
