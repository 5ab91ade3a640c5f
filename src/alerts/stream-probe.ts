import { LANES, type Lane } from '../secevent/event.js'
import { type Condition, type Probe, spell } from './alert.js'
import type { StreamHealth, StreamHealthReadModel } from './stream-health-read-model.js'

export interface StreamProbeOptions {
  readonly streams: Pick<StreamHealthReadModel, 'read'>
  /** How old what fan-out has not read yet is: room eventlog. */
  lag(): Promise<readonly { lane: Lane; oldestAgeS: number }[]>
  readonly failingMs: number
  readonly lagMs: number
}

/** Receivers that do not take their SETs, and SETs that the hub does not send: one look at the queue for both. */
export function createStreamProbe({ streams, lag, failingMs, lagMs }: StreamProbeOptions): Probe {
  return {
    kinds: ['stream_failing', 'delivery_lag'],
    async look() {
      const [read, inLog] = await Promise.all([streams.read(), lag()])
      return [
        ...read.flatMap((stream) => failing(stream, failingMs) ?? []),
        ...LANES.flatMap(
          (lane) =>
            lagging(lane, read, inLog.find((each) => each.lane === lane)?.oldestAgeS ?? 0, lagMs) ?? [],
        ),
      ]
    },
  }
}

function failing(stream: StreamHealth, failingMs: number): Condition | undefined {
  const { streamId, receiver, method, status, failingS, failure } = stream
  const common = { kind: 'stream_failing', object: `stream:${streamId}` } as const
  const names = { stream_id: streamId, receiver, method }
  if (status === 'paused') {
    return {
      ...common,
      summary: `The hub has paused the stream of ${receiver}.`,
      detail: { ...names, why: 'paused', reason: stream.statusReason },
    }
  }
  if (failingS === null || failingS * 1000 < failingMs) return undefined
  const what = method === 'poll' ? 'has not acknowledged a SET' : 'has not taken a SET'
  return {
    ...common,
    summary: `${receiver} ${what} for ${spell(failingS)}.`,
    detail: {
      ...names,
      why: method === 'poll' ? 'not_acknowledged' : 'not_taken',
      oldest_s: Math.round(failingS),
      failure,
    },
  }
}

function lagging(
  lane: Lane,
  streams: readonly StreamHealth[],
  inLogS: number,
  lagMs: number,
): Condition | undefined {
  const unsentS = Math.max(0, ...streams.map((stream) => stream.unsentS[lane] ?? 0))
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
