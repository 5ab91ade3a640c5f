/** Which way out of the hub: control before urgent before routine, with nothing shared between them. */
export type Lane = 'control' | 'urgent' | 'routine'
export const LANES: readonly Lane[] = ['control', 'urgent', 'routine']
/** Lanes as stored: a smaller number goes first. */
export const LANE_NUMBER: Record<Lane, number> = { control: 0, urgent: 1, routine: 2 }

/** What an event type does to access. */
export type AccessEffect = 'tightens' | 'loosens' | 'neutral'

/** An RFC 9493 subject identifier as it appears in `sub_id`, already validated. */
export type Subject = { readonly format: string } & Readonly<Record<string, unknown>>

/** The hub itself as a source: what operators emit and what the hub says about its streams. */
export const HUB_SOURCE_ID = '00000000-0000-0000-0000-000000000000'

/** Hash slots for order; fixed for ever in both logs. */
export const SLOT_COUNT = 64

/** Verified content of one SET, as it travels through our log. */
export interface SecurityEvent {
  /** UUIDv7; sorting by it is the hub order. */
  readonly eventId: string
  /** Shared clock, whole ms since the epoch, when the hub accepted it. */
  readonly acceptedAtMs: number
  readonly lane: Lane
  readonly effect: AccessEffect
  /** Event type URI. */
  readonly type: string
  /** Absent only on a quarantined event. */
  readonly subject?: Subject
  /** The value of `events[type]`. */
  readonly claims: Readonly<Record<string, unknown>>
  /** Joins all SETs of one cause; passed on, never a key. */
  readonly txn: string
  /** Transmitter id, or HUB_SOURCE_ID. */
  readonly sourceId: string
  readonly sourceIssuer: string
  readonly sourceJti: string
  /** base64url SHA-256 of the canonical claims: same jti with another hash raises an alert. */
  readonly contentHash: string
  /** The canonical principal whose order this event keeps (complex: user, else session …). */
  readonly orderKey: string
  /** 0 to 63, from orderKey. */
  readonly slot: number
  /** Set when the event is for one stream only: verification, stream-updated. */
  readonly targetStreamId?: string
  /** Verified but not fit to fan out: stored, counted, alerted, never sent. */
  readonly quarantine?: string
}
