import type { Lane } from '../secevent/event.js'

/** What missed the objective on one stream, of events of one lane that were accepted in some range. */
export interface Missed {
  readonly streamId: string
  readonly lane: Lane
  readonly receiver: string | null
  readonly stage: string
  readonly count: number
}

/** In a window: what is held of a stream and lane does not grow with its length, nor with how often is looked. */
const BUCKETS = 10

interface Bucket {
  readonly fromMs: number
  /** Of the last look that added to it. */
  lastMs: number
  /** By stream. */
  readonly counts: Map<string, number>
}

/**
 * Sums of what was missed within a window, one number per stream, lane and tenth of the window: in an outage of thousands
 * of streams a row for each look would fill the heap of the process that is to tell of it. A count leaves up to a tenth
 * of the window late; the last of a stream leaves exactly when the window is over.
 */
export function createMissedTally(windowMs: number) {
  const widthMs = windowMs / BUCKETS
  const lanes = new Map<Lane, Bucket[]>()
  let streams = new Map<string, Pick<Missed, 'streamId' | 'receiver' | 'stage'>>()

  function bucketOf(lane: Lane, nowMs: number): Bucket {
    const buckets = lanes.get(lane) ?? []
    lanes.set(lane, buckets)
    const last = buckets.at(-1)
    if (last && nowMs < last.fromMs + widthMs) return last
    const made = { fromMs: nowMs, lastMs: nowMs, counts: new Map<string, number>() }
    buckets.push(made)
    return made
  }

  function addTo(bucket: Bucket, nowMs: number, counts: Iterable<readonly [string, number]>): void {
    bucket.lastMs = nowMs
    for (const [streamId, count] of counts) {
      bucket.counts.set(streamId, (bucket.counts.get(streamId) ?? 0) + count)
    }
  }

  return {
    add(missed: readonly Missed[], nowMs: number): void {
      for (const { streamId, lane, receiver, stage, count } of missed) {
        // The text of an id is kept once, whatever row it came with.
        const known = streams.get(streamId)?.streamId ?? streamId
        streams.set(known, { streamId: known, receiver, stage })
        addTo(bucketOf(lane, nowMs), nowMs, [[known, count]])
      }
    },
    /** The window of what was missed on this lane begins now. */
    hold(lane: Lane, nowMs: number): void {
      const before = lanes.get(lane)
      if (!before?.length) return
      lanes.set(lane, [])
      const bucket = bucketOf(lane, nowMs)
      for (const { counts } of before) addTo(bucket, nowMs, counts)
    },
    /** Per stream, after what is older than the window is gone. */
    sums(nowMs: number): Omit<Missed, 'lane'>[] {
      const sums = new Map<string, number>()
      for (const [lane, buckets] of lanes) {
        const kept = buckets.filter(({ lastMs }) => lastMs > nowMs - windowMs)
        lanes.set(lane, kept)
        for (const { counts } of kept) {
          for (const [streamId, count] of counts) sums.set(streamId, (sums.get(streamId) ?? 0) + count)
        }
      }
      streams = new Map([...streams].filter(([streamId]) => sums.has(streamId)))
      return [...streams.values()].map((stream) => ({ ...stream, count: sums.get(stream.streamId) ?? 0 }))
    },
    /** How many numbers are held. */
    size: () => [...lanes.values()].flat().reduce((sum, { counts }) => sum + counts.size, 0),
    clear(): void {
      lanes.clear()
      streams.clear()
    },
  }
}
