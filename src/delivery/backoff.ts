/** Waits between tries while access is at stake: 0.2 to 30 s, then minutes, for days. Milliseconds. */
const URGENT_WAITS_MS = [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000]
const ROUTINE_WAITS_MS = [1_000, 5_000, 15_000, 60_000, 300_000, 900_000]

/** ±20 %. */
export function withJitter(ms: number, random: () => number = Math.random): number {
  return ms * (0.8 + 0.4 * random())
}

/**
 * How long one SET waits after its n-th failed attempt, in ms, with ±20 % jitter so that the streams of a
 * recovered endpoint do not return in one wave.
 */
export function retryWaitMs(attempts: number, urgent: boolean, random: () => number = Math.random): number {
  const waits = urgent ? URGENT_WAITS_MS : ROUTINE_WAITS_MS
  const index = Math.min(Math.max(attempts, 1), waits.length) - 1
  return withJitter(waits[index] as number, random)
}

/**
 * How long a failing endpoint rests before its n-th probe, in ms.
 * @param limitMs it is probed at least this often, whatever waits for it: a revocation that comes while it rests for a
 *   routine SET must not wait any longer
 */
export function probeWaitMs(rounds: number, limitMs: number, random: () => number = Math.random): number {
  return Math.min(retryWaitMs(rounds, true, random), limitMs)
}
