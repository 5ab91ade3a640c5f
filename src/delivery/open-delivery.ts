import type { Profile } from '../auth/profile.js'
import { type AccessEffect, LANE_NUMBER, LANES, type Lane, type Subject } from '../secevent/event.js'
import { RENDERING } from '../secevent/render-event.js'

/** Stages that a point has declared it reports, as bits of `expects`. */
export const EXPECTS = { received: 1, applied: 2, verified: 4 } as const

/** How what is queued for such a receiver from now on is rendered. */
export function renderingFor(profile: Profile | undefined): number {
  return profile === 'caep-interop' ? RENDERING.caepInterop : RENDERING.plain
}

/** One SET still owed to one stream: a row of `delivery_queue`. */
export interface OpenDelivery {
  readonly streamId: string
  readonly eventId: string
  readonly receiverId: string
  readonly shard: number
  readonly lane: Lane
  readonly type: string
  readonly effect: AccessEffect
  readonly sourceId: string
  readonly txn: string
  /** base64 of the order hash; empty when the event has no subject. */
  readonly orderKey: string
  readonly acceptedAtMs: number
  /** How its SET is made from its event: a retry after an upgrade or a change of profile renders the same. */
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

/** A delivery in memory, ready to be sent. */
export interface SendItem extends OpenDelivery {
  readonly content: EventContent
  /** Of the sealed content: what it takes in memory, more or less. */
  readonly bytes: number
}

/** Member by member, so that all have one shape wherever they come from: they are read at every step of the way out. */
export function toSendItem(
  delivery: Omit<OpenDelivery, 'attempts' | 'queuedAtMs'>,
  tries: Pick<OpenDelivery, 'attempts' | 'queuedAtMs'>,
  { content, bytes }: Pick<SendItem, 'content' | 'bytes'>,
): SendItem {
  return {
    streamId: delivery.streamId,
    eventId: delivery.eventId,
    receiverId: delivery.receiverId,
    shard: delivery.shard,
    lane: delivery.lane,
    type: delivery.type,
    effect: delivery.effect,
    sourceId: delivery.sourceId,
    txn: delivery.txn,
    orderKey: delivery.orderKey,
    acceptedAtMs: delivery.acceptedAtMs,
    rendering: delivery.rendering,
    attempts: tries.attempts,
    queuedAtMs: tries.queuedAtMs,
    content,
    bytes,
  }
}

export function laneOf(number: number): Lane {
  const lane = LANES.find((candidate) => LANE_NUMBER[candidate] === number)
  if (!lane) throw new RangeError(`no lane has the number ${number}`)
  return lane
}
