import { type AccessEffect, LANE_NUMBER, LANES, type Lane, type Subject } from '../secevent/event.js'

/** Stages that a point has declared it reports, as bits of `expects`. */
export const EXPECTS = { received: 1, applied: 2, verified: 4 } as const

/** How claims are rendered; kept on each delivery so that a retry after an upgrade renders the same. */
export const RENDERING = 1

/** One SET still owed to one stream: a row of `delivery_queue`. */
export interface OpenDelivery {
  readonly streamId: string
  readonly eventId: string
  readonly receiverId: string
  readonly shard: number
  readonly lane: Lane
  readonly type: string
  readonly effect: AccessEffect
  readonly txn: string
  /** base64 of the order hash; empty when the event has no subject. */
  readonly orderKey: string
  readonly acceptedAtMs: number
  readonly rendering: number
  /** Attempts so far. */
  readonly attempts: number
  /** Shared clock, ms: when it was queued. */
  readonly queuedAtMs: number
}

/** As much of a delivery as others want to know when it is received. */
export type ReceivedDelivery = Pick<OpenDelivery, 'streamId' | 'type' | 'acceptedAtMs'>

/** What minting needs besides the delivery itself. */
export interface EventContent {
  readonly subject: Subject
  readonly claims: Readonly<Record<string, unknown>>
}

export function laneOf(number: number): Lane {
  const lane = LANES.find((candidate) => LANE_NUMBER[candidate] === number)
  if (!lane) throw new RangeError(`no lane has the number ${number}`)
  return lane
}
