import type { EventLog } from '../eventlog/event-log.js'
import { LogUnavailable } from '../eventlog/event-log.js'
import type { Clock } from '../kernel/clock.js'
import { crashpoint } from '../kernel/crashpoint.js'
import { TooManyRequests, Unavailable } from '../kernel/errors.js'
import { createEventIds, eventIdTimeMs, newId } from '../kernel/ids.js'
import type { Lane, SecurityEvent } from '../secevent/event.js'
import { classifyEvent, type EventTypes, SSF } from '../secevent/event-types.js'
import { parseSet } from '../secevent/parse-set.js'
import { createSecurityEvent, type SecurityEventInput } from '../secevent/security-event.js'
import { type VerifiedSet, verifySet } from '../secevent/verify-set.js'
import type { IssuerKeys } from './issuer-keys.js'
import type { SourceBudgets } from './source-budget.js'
import type { Transmitter } from './transmitter.js'

export interface IngestedSet {
  readonly event: SecurityEvent
  readonly verified: VerifiedSet
  /** The source was past its first bound. */
  readonly overBudget: boolean
}

export interface SetIngestOptions {
  clock: Clock
  keys: IssuerKeys
  budgets: SourceBudgets
  log: Pick<EventLog, 'append'>
  /**
   * What a transmitter says about the stream that the hub holds there (SSF 1.0 §8.1.4, §8.1.5); runs before the event
   * is stored. @throws SetRejected, Unavailable
   */
  aboutStream?: (transmitter: Transmitter, verified: VerifiedSet) => Promise<void>
  /** The built-in ones when absent. */
  eventTypes?: EventTypes
  /** Shared by all that stamps events in this process. */
  nextEventId?: () => string
  /** A log that does not answer within this is as good as away; a repeat of the SET has no second effect. Default 10 s. */
  appendDeadlineMs?: number
}

/**
 * One SET of a known transmitter, however it came: resolves when it is durable.
 * @param enter takes the source's place in that lane once the signature holds, and answers what gives it back; throws when there is none
 */
export type SetIngest = (
  transmitter: Transmitter,
  body: Buffer,
  enter?: (lane: Lane) => () => void,
) => Promise<IngestedSet>

const FRAMEWORK_TYPES: readonly string[] = Object.values(SSF)

/** @throws (from the returned function) SetRejected, KeysUnavailable, TooManyRequests, LogUnavailable, Unavailable */
export function createSetIngest(options: SetIngestOptions): SetIngest {
  const { clock, eventTypes, appendDeadlineMs = 10_000 } = options
  const nextEventId = options.nextEventId ?? createEventIds(clock)

  return async (transmitter, body, enter) => {
    const arrivedAtMs = clock.monotonicMs()
    if (transmitter.audience.length === 0) {
      // The first SET may come before the answer that names the audience (SSF 1.0 §8.1.1.1).
      throw new Unavailable('The stream is still being set up; send the SET again.', { retryAfterS: 1 })
    }
    const verified = await verifySet(parseSet(body), {
      issuer: transmitter.issuer,
      audience: transmitter.audience,
      algorithms: transmitter.algorithms,
      keys: options.keys.sourceFor(transmitter, arrivedAtMs),
      nowMs: clock.now(),
      tolerances: transmitter.tolerances,
      ...(eventTypes && { eventTypes }),
    })
    const allowance = options.budgets.take(transmitter.id, transmitter.budgetPerS)
    if (allowance === 'spent') {
      throw new TooManyRequests('This transmitter sends more than its budget; send the SET again later.', {
        retryAfterS: 1,
      })
    }
    const overBudget = allowance === 'over'
    const lane = laneOf(transmitter, verified, { overBudget, eventTypes })
    let leave: (() => void) | undefined
    try {
      leave = enter?.(lane)
    } catch (error) {
      // The source is told to send it again, and must not be charged for each time the hub has no room.
      options.budgets.giveBack(transmitter.id, allowance)
      throw error
    }
    try {
      if (FRAMEWORK_TYPES.includes(verified.type)) await options.aboutStream?.(transmitter, verified)
      crashpoint('ingest.verified')
      // The stamp and the append stand in one turn of the loop: hub order is log order inside a process.
      const event = toEvent(transmitter, verified, { eventId: nextEventId(), lane, eventTypes })
      await within(appendDeadlineMs, options.log.append([event]))
      crashpoint('ingest.stored')
      return { event, verified, overBudget }
    } finally {
      leave?.()
    }
  }
}

/**
 * The lane of the event's class, which a source's own urgent types only raise. Past the budget all of it goes by routine,
 * where the rest goes anyway: the lane changes, the effect does not.
 */
function laneOf(
  transmitter: Transmitter,
  { type, claims, quarantine }: VerifiedSet,
  { overBudget, eventTypes }: { overBudget: boolean; eventTypes: EventTypes | undefined },
): Lane {
  if (overBudget || quarantine) return 'routine'
  if (transmitter.urgentTypes.includes(type)) return 'urgent'
  return classifyEvent(type, claims, eventTypes).lane
}

function toEvent(
  transmitter: Transmitter,
  verified: VerifiedSet,
  stamp: { eventId: string; lane: Lane; eventTypes: EventTypes | undefined },
): SecurityEvent {
  const input: SecurityEventInput = {
    eventId: stamp.eventId,
    acceptedAtMs: eventIdTimeMs(stamp.eventId),
    type: verified.type,
    ...(verified.subject && { subject: verified.subject }),
    claims: verified.claims,
    txn: verified.txn ?? newId(),
    sourceId: transmitter.id,
    sourceIssuer: verified.issuer,
    sourceJti: verified.jti,
    lane: stamp.lane,
    ...(verified.quarantine && { quarantine: verified.quarantine }),
    extraClaims: verified.contentClaims,
  }
  return createSecurityEvent(input, stamp.eventTypes)
}

async function within(deadlineMs: number, append: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new LogUnavailable('The hub could not store the event in time; send it again.')),
      deadlineMs,
    )
  })
  try {
    await Promise.race([append, late])
  } finally {
    clearTimeout(timer)
  }
}
