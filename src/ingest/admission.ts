import type { Lane } from '../secevent/event.js'

export interface AdmissionLimits {
  /** Verified SETs of one lane that wait for the log at once. Default 1,000. */
  maxInFlight?: number
  /** Pushes at once that are being read or verified. Default 1,000. */
  maxUnverified?: number
  /** Bytes of such pushes held at once. Default 32 MiB. */
  maxBytes?: number
}

/** A place of one push until its signature holds, or fails. */
export interface UnverifiedPlace {
  /** Counts bytes that have come; false when there is no room for them. */
  hold(bytes: number): boolean
  /** All of the body is there: it will not be cut any more. */
  complete(): void
  /** Gives the place and the bytes back. Calling it again does nothing. */
  leave(): void
}

/**
 * Better a 503 now than latency without end. Whoever knows an ingest URL can open a push, so until the signature
 * holds a push counts for the network that it comes from and not for the source that it names: nobody but a source
 * can use up that source's share.
 */
export interface Admission {
  /**
   * A place to be read and verified, or undefined when there is none. One network may hold a quarter. When there is
   * none, the one that has been read for the longest is cut, unless it has only begun.
   * @param cut ends the reading of this push; called at most once
   */
  admit(network: string, cut: () => void): UnverifiedPlace | undefined
  /**
   * A place for one verified SET, or undefined when there is none. Each lane has its own, for each is appended apart: while
   * the log of one is slow, the others get in. One source may hold half, so that a slow one does not keep the others out.
   * @returns gives the place back; call it exactly once
   */
  enter(source: string, lane: Lane): (() => void) | undefined
}

export interface AdmissionOptions {
  clock: { monotonicMs(): number }
  limits?: AdmissionLimits | undefined
}

/** A body of 64 KiB at most is there within a few round trips. */
const CUT_AFTER_MS = 500

interface Reader {
  readonly network: string
  readonly sinceMs: number
  cut(): void
}

export function createAdmission({ clock, limits = {} }: AdmissionOptions): Admission {
  const { maxInFlight = 1_000, maxUnverified = 1_000, maxBytes = 33_554_432 } = limits
  const reading = createShares(maxUnverified, 4)
  const bytes = createShares(maxBytes, 4)
  const verified: Record<Lane, Shares> = {
    control: createShares(maxInFlight, 2),
    urgent: createShares(maxInFlight, 2),
    routine: createShares(maxInFlight, 2),
  }
  // In order of arrival.
  const readers = new Set<Reader>()

  /** Makes room by cutting the slowest push of the network, or of all when the network is within its share. */
  function cutSlowest(network: string | undefined): void {
    for (const reader of readers) {
      if (network !== undefined && reader.network !== network) continue
      if (clock.monotonicMs() - reader.sinceMs < CUT_AFTER_MS) return
      reader.cut()
      return
    }
  }

  function take(shares: Shares, network: string, amount: number): boolean {
    if (shares.take(network, amount)) return true
    cutSlowest(shares.isOver(network, amount) ? network : undefined)
    return shares.take(network, amount)
  }

  return {
    admit(network, cut) {
      if (!take(reading, network, 1)) return undefined
      let heldBytes = 0
      let left = false
      const leave = (): void => {
        if (left) return
        left = true
        readers.delete(reader)
        reading.give(network, 1)
        bytes.give(network, heldBytes)
      }
      const reader: Reader = {
        network,
        sinceMs: clock.monotonicMs(),
        cut() {
          leave()
          cut()
        },
      }
      readers.add(reader)
      return {
        hold(more) {
          if (left || !take(bytes, network, more)) return false
          // Its own reading may have been what was cut.
          if (left) bytes.give(network, more)
          else heldBytes += more
          return !left
        },
        complete: () => void readers.delete(reader),
        leave,
      }
    },
    enter(source, lane) {
      const places = verified[lane]
      return places.take(source, 1) ? () => places.give(source, 1) : undefined
    },
  }
}

interface Shares {
  take(holder: string, amount: number): boolean
  give(holder: string, amount: number): void
  /** Whether the holder's own share is what is used up. */
  isOver(holder: string, amount: number): boolean
}

/** An amount of which one holder may have a part. */
function createShares(max: number, parts: number): Shares {
  const held = new Map<string, number>()
  const maxEach = Math.max(1, Math.ceil(max / parts))
  let total = 0
  const isOver = (holder: string, amount: number) => (held.get(holder) ?? 0) + amount > maxEach
  return {
    isOver,
    take(holder, amount) {
      if (total + amount > max || isOver(holder, amount)) return false
      total += amount
      held.set(holder, (held.get(holder) ?? 0) + amount)
      return true
    },
    give(holder, amount) {
      total -= amount
      const left = (held.get(holder) ?? 0) - amount
      if (left > 0) held.set(holder, left)
      else held.delete(holder)
    },
  }
}
