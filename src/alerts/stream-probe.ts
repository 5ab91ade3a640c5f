import type { Clock } from '../kernel/clock.js'
import { LANES, type Lane } from '../secevent/event.js'
import { type Condition, type Probe, spell } from './alert.js'
import { shared } from './shared.js'
import type { StreamHealth, StreamHealthReadModel } from './stream-health-read-model.js'
import { createPaceWatch, type Pace } from './stream-pace.js'

export interface StreamProbeOptions {
  readonly streams: Pick<StreamHealthReadModel, 'read'>
  /** How old what fan-out has not read yet is: room eventlog. Rejects while nobody knows. */
  lag(): Promise<readonly { lane: Lane; oldestAgeS: number }[]>
  readonly failingMs: number
  readonly lagMs: number
  readonly clock: Pick<Clock, 'monotonicMs'>
}

/**
 * Receivers that do not take their SETs, or too slowly, and SETs that the hub does not send: one look at the queue for both.
 * Apart, so that streams are told of while nobody knows the lag of the log.
 */
export function createStreamProbes({ streams, lag, failingMs, lagMs, clock }: StreamProbeOptions): Probe[] {
  const paceWatch = createPaceWatch({ clock, behindAfterMs: failingMs })
  const lookAtQueue = shared(async () => {
    const read = await streams.read()
    return { read, pace: paceWatch.look(read) }
  })
  const failingStreams: Probe = {
    kinds: ['stream_failing'],
    async look() {
      const { read, pace } = await lookAtQueue()
      return read.flatMap(
        (stream) => failing(stream, failingMs) ?? slow(stream, pace, { failingMs, lagMs }) ?? [],
      )
    },
    forget: paceWatch.forget,
  }
  const laggingLanes: Probe = {
    kinds: ['delivery_lag'],
    async look() {
      const [{ read, pace }, inLog] = await Promise.all([lookAtQueue(), lag()])
      return LANES.flatMap((lane) => {
        const inLogS = inLog.find((each) => each.lane === lane)?.oldestAgeS ?? 0
        return lagging(lane, { inLogS, unsentS: unsentOf(lane, read, pace) }, lagMs) ?? []
      })
    },
  }
  return [failingStreams, laggingLanes]
}

const namesOf = ({ streamId, receiver, method }: StreamHealth) => ({ stream_id: streamId, receiver, method })

function failing(stream: StreamHealth, failingMs: number): Condition | undefined {
  const { streamId, receiver, method, status, failingS, failure } = stream
  const common = { kind: 'stream_failing', object: `stream:${streamId}` } as const
  if (status === 'paused') {
    return {
      ...common,
      summary: `The hub has paused the stream of ${receiver}.`,
      detail: { ...namesOf(stream), why: 'paused', reason: stream.statusReason },
    }
  }
  if (failingS === null || failingS * 1000 < failingMs) return undefined
  const what = method === 'poll' ? 'has not acknowledged a SET' : 'has not taken a SET'
  return {
    ...common,
    summary: `${receiver} ${what} for ${spell(failingS)}.`,
    detail: {
      ...namesOf(stream),
      why: method === 'poll' ? 'not_acknowledged' : 'not_taken',
      oldest_s: Math.round(failingS),
      failure,
    },
  }
}

/** It works, and is behind for too long: what the hub has just begun to catch up with is not yet the receiver's. */
function slow(
  stream: StreamHealth,
  pace: Pace,
  { failingMs, lagMs }: { failingMs: number; lagMs: number },
): Condition | undefined {
  const stands = stream.unsent.every(({ lane }) => pace.stillS(stream, lane) * 1000 >= lagMs)
  if (pace.behindS(stream) * 1000 < failingMs || stands) return undefined
  const oldestS = Math.max(0, ...stream.unsent.map(({ ageS }) => ageS))
  return {
    kind: 'stream_failing',
    object: `stream:${stream.streamId}`,
    summary: `${stream.receiver} takes SETs more slowly than they come: the oldest waits for ${spell(oldestS)}.`,
    detail: { ...namesOf(stream), why: 'slow', oldest_s: Math.round(oldestS), failure: null },
  }
}

/** Only of what stands still: what waits behind others is its receiver's pace. */
function unsentOf(lane: Lane, streams: readonly StreamHealth[], pace: Pace): number {
  return Math.max(
    0,
    ...streams.flatMap((stream) =>
      stream.unsent
        .filter((head) => head.lane === lane)
        .map(({ ageS }) => Math.min(ageS, pace.stillS(stream, lane))),
    ),
  )
}

function lagging(
  lane: Lane,
  { inLogS, unsentS }: { inLogS: number; unsentS: number },
  lagMs: number,
): Condition | undefined {
  const worstS = Math.max(inLogS, unsentS)
  if (worstS * 1000 < lagMs) return undefined
  const where = inLogS >= unsentS ? 'to be fanned out' : 'to be sent'
  return {
    kind: 'delivery_lag',
    object: `lane:${lane}`,
    summary: `An event of lane ${lane} waits ${where} for ${spell(worstS)}.`,
    detail: { lane, not_fanned_out_s: Math.round(inLogS), not_sent_s: Math.round(unsentS) },
  }
}
