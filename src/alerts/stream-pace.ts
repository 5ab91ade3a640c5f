import type { Clock } from '../kernel/clock.js'
import { LANES, type Lane } from '../secevent/event.js'
import type { StreamHealth, UnsentHead } from './stream-health-read-model.js'

/** How it goes on with the streams on which nothing fails. Seconds; of what was not looked at before 0. */
export interface Pace {
  /** For so long the hub has sent nothing of this lane, nor of a lane that goes before it. */
  stillS(stream: StreamHealth, lane: Lane): number
  /** For so long its oldest delivery has been older than the limit at every look. */
  behindS(stream: StreamHealth): number
}

interface Seen {
  readonly heads: readonly UnsentHead[]
  readonly stillSinceMs: ReadonlyMap<Lane, number>
  readonly behindSinceMs: number | undefined
}

/**
 * Tells a receiver that is slow from a hub that does not send: of the one the oldest deliveries change from look to look, of
 * the other they stay.
 */
export function createPaceWatch(options: { clock: Pick<Clock, 'monotonicMs'>; behindAfterMs: number }) {
  const { clock, behindAfterMs } = options
  let seen = new Map<string, Seen>()

  function see({ unsent }: StreamHealth, last: Seen | undefined, nowMs: number): Seen {
    const taken = LANES.findIndex((lane) => last && wasTaken(lane, last.heads, unsent))
    const stillSince = (lane: Lane) => {
      const isMoving = taken >= 0 && taken <= LANES.indexOf(lane)
      return isMoving ? nowMs : (last?.stillSinceMs.get(lane) ?? nowMs)
    }
    const isBehind = unsent.some(({ ageS }) => ageS * 1000 >= behindAfterMs)
    return {
      heads: unsent,
      stillSinceMs: new Map(unsent.map(({ lane }) => [lane, stillSince(lane)])),
      behindSinceMs: isBehind ? (last?.behindSinceMs ?? nowMs) : undefined,
    }
  }

  return {
    look(streams: readonly StreamHealth[]): Pace {
      const nowMs = clock.monotonicMs()
      const before = seen
      const waiting = streams.filter(({ unsent }) => unsent.length > 0)
      seen = new Map(
        waiting.map((stream) => [stream.streamId, see(stream, before.get(stream.streamId), nowMs)]),
      )
      const lasts = (sinceMs: number | undefined) => (sinceMs === undefined ? 0 : (nowMs - sinceMs) / 1000)
      return {
        stillS: ({ streamId }, lane) => lasts(seen.get(streamId)?.stillSinceMs.get(lane)),
        behindS: ({ streamId }) => lasts(seen.get(streamId)?.behindSinceMs),
      }
    },
    forget() {
      seen = new Map()
    },
  }
}

/** The oldest delivery of the lane is gone. An older one that came late took nothing away. */
function wasTaken(lane: Lane, before: readonly UnsentHead[], now: readonly UnsentHead[]): boolean {
  const head = (heads: readonly UnsentHead[]) => heads.find((each) => each.lane === lane)?.eventId
  const [was, is] = [head(before), head(now)]
  return was !== undefined && (is === undefined || is > was)
}
