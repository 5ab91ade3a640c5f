export interface AdmissionLimits {
  /** Ingests under way at once, from the first header to the answer. Default 1,000. */
  maxInFlight?: number
  /** Bytes of bodies held at once. Default 32 MiB. */
  maxBytes?: number
}

export interface Admission {
  /**
   * A place for one ingest, or undefined when there is none: better a 503 now than latency without end.
   * @param source one source may hold half of the places, so that a slow one does not keep the others out
   * @returns gives the place back; call it exactly once
   */
  enter(source: string, bytes: number): (() => void) | undefined
  inFlight(): number
}

export function createAdmission(limits: AdmissionLimits = {}): Admission {
  const { maxInFlight = 1_000, maxBytes = 33_554_432 } = limits
  const bySource = new Map<string, number>()
  const maxPerSource = Math.max(1, Math.ceil(maxInFlight / 2))
  let inFlight = 0
  let heldBytes = 0
  return {
    enter(source, bytes) {
      const own = bySource.get(source) ?? 0
      if (inFlight >= maxInFlight || own >= maxPerSource || heldBytes + bytes > maxBytes) return undefined
      inFlight += 1
      heldBytes += bytes
      bySource.set(source, own + 1)
      return () => {
        inFlight -= 1
        heldBytes -= bytes
        const left = (bySource.get(source) ?? 1) - 1
        if (left > 0) bySource.set(source, left)
        else bySource.delete(source)
      }
    },
    inFlight: () => inFlight,
  }
}
