import { TooManyRequests, Unavailable } from '../kernel/errors.js'

export interface QueryGate {
  /**
   * Runs the work when there is a place for it.
   * @param caller one caller may have a share of the places and of the queue
   * @throws TooManyRequests, Unavailable when the queue is full, or no place came free in time
   */
  run<T>(caller: string, work: () => Promise<T>): Promise<T>
}

export interface QueryGateOptions {
  /** Queries that run at once. One caller runs one less, if there is more than one place. */
  atOnce: number
  /** Queries that wait at once. Default 32; one caller waits with half of that at most. */
  maxWaiting?: number
  /** Default 10 s. */
  maxWaitMs?: number
}

interface Waiter {
  readonly caller: string
  start(): void
}

/**
 * Bounds queries that may take seconds, such as those over a day of events: what shares their pool, above all
 * managing streams and asking who calls, must not wait behind them.
 */
export function createQueryGate({
  atOnce,
  maxWaiting = 32,
  maxWaitMs = 10_000,
}: QueryGateOptions): QueryGate {
  const running = new Map<string, number>()
  const waiting = new Set<Waiter>()
  const maxOwn = Math.max(1, atOnce - 1)
  let total = 0

  const hasPlace = (caller: string) => total < atOnce && (running.get(caller) ?? 0) < maxOwn

  function enter(caller: string): void {
    total += 1
    running.set(caller, (running.get(caller) ?? 0) + 1)
  }

  function leave(caller: string): void {
    total -= 1
    const left = (running.get(caller) ?? 1) - 1
    if (left > 0) running.set(caller, left)
    else running.delete(caller)
    for (const waiter of waiting) {
      if (!hasPlace(waiter.caller)) continue
      waiting.delete(waiter)
      enter(waiter.caller)
      waiter.start()
      return
    }
  }

  async function wait(caller: string): Promise<void> {
    const own = [...waiting].filter((waiter) => waiter.caller === caller).length
    if (own >= maxWaiting / 2) {
      throw new TooManyRequests('You have too many queries waiting; wait for their answers.', {
        retryAfterS: 2,
      })
    }
    if (waiting.size >= maxWaiting) throw busy()
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(waiter)
        reject(busy())
      }, maxWaitMs)
      const waiter: Waiter = {
        caller,
        start() {
          clearTimeout(timer)
          resolve()
        },
      }
      waiting.add(waiter)
    })
  }

  return {
    async run(caller, work) {
      if (hasPlace(caller)) enter(caller)
      else await wait(caller)
      try {
        return await work()
      } finally {
        leave(caller)
      }
    },
  }
}

function busy(): Unavailable {
  return new Unavailable('The hub is busy with other queries; ask again shortly.', { retryAfterS: 2 })
}
