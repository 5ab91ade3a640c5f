const [seconds, nanoseconds] = process.hrtime()
const offsetMs = seconds * 1000 + nanoseconds / 1e6 - performance.now()

/**
 * Milliseconds on the machine's monotonic clock: the same in every process here, and no correction of the wall clock
 * makes a latency wrong. (`performance.timeOrigin` is taken from the wall clock, once per process.)
 */
export function monotonicMs(): number {
  return offsetMs + performance.now()
}
