/** What waits in memory: SETs, and bytes of their content. */
export interface Amount {
  readonly sets: number
  readonly bytes: number
}

export interface WaitingLimits {
  readonly inAll: Amount
  readonly perStream: Amount
  /** A stream has room for these whatever the others hold, so that none is pushed out of memory by slow neighbours. */
  readonly guaranteed: Amount
}

/** A stream's part of what the process keeps in memory. */
export interface WaitingRoom {
  count(change: 1 | -1, bytes: number): void
  /** Room for one more, besides so many that are about to come in. Without it the table is the queue. */
  hasRoom(arriving: number): boolean
}

/** SETs of 1 to 2 KB are the rule, 64 KiB the most: one bound for each. */
const WAITING_LIMITS: WaitingLimits = {
  inAll: { sets: 20_000, bytes: 67_108_864 },
  perStream: { sets: 5_000, bytes: 8_388_608 },
  guaranteed: { sets: 64, bytes: 131_072 },
}

/** Keeps memory flat in backlog. @returns opens the room of one stream */
export function createWaitingRooms(limits: WaitingLimits = WAITING_LIMITS): () => WaitingRoom {
  const all = { sets: 0, bytes: 0 }
  const fits = ({ sets, bytes }: Amount, limit: Amount, arriving = 0) =>
    sets + arriving < limit.sets && bytes < limit.bytes

  return () => {
    const own = { sets: 0, bytes: 0 }
    return {
      count(change, bytes) {
        for (const amount of [own, all]) {
          amount.sets += change
          amount.bytes += change * bytes
        }
      },
      hasRoom: (arriving) =>
        fits(own, limits.guaranteed, arriving) ||
        (fits(own, limits.perStream, arriving) && fits(all, limits.inAll)),
    }
  }
}
