import { InvalidRequest } from '../kernel/errors.js'

/**
 * Departures from the standards that one receiver's client needs (docs/receivers.md). Each is off unless the receiver
 * has it, and no other receiver sees it.
 */
export const COMPATIBILITY_SWITCHES = [
  /** Poll answers never hold `moreAvailable`. */
  'omit_more_available',
  /** A poll's `max_events` is read as `maxEvents`. */
  'accept_max_events',
  /** A poll delivery may be asked for with an empty `endpoint_url`. */
  'accept_empty_poll_url',
  /** Where SSF 1.0 has 204 without a body: 200 with `{}`. */
  'answer_200_for_204',
  /** Any 2xx to a push is a receipt, not 202 alone. */
  'accept_any_2xx',
  /** Delivery methods by the URIs and member names of the RISC drafts. */
  'risc_delivery_methods',
] as const

export type CompatibilitySwitch = (typeof COMPATIBILITY_SWITCHES)[number]
export type Compatibility = readonly CompatibilitySwitch[]

function isKnown(name: string): name is CompatibilitySwitch {
  return (COMPATIBILITY_SWITCHES as readonly string[]).includes(name)
}

/** What a registration asks for. @throws InvalidRequest that lists the switches there are */
export function parseCompatibility(sent: Readonly<Record<string, unknown>>): Compatibility {
  const unknown = Object.keys(sent).filter((name) => !isKnown(name))
  if (unknown.length > 0) {
    const shown = unknown.slice(0, 5).map((name) => name.slice(0, 100))
    throw new InvalidRequest(
      `compatibility has no switch ${shown.join(', ')}; there are ${COMPATIBILITY_SWITCHES.join(', ')}.`,
    )
  }
  return readCompatibility(sent)
}

/** Switches that are on, in the list's order; a row may hold one that this version does not know. */
export function readCompatibility(stored: Readonly<Record<string, unknown>>): Compatibility {
  return COMPATIBILITY_SWITCHES.filter((name) => stored[name] === true)
}

/** The form on the wire and in the row: `{"name": true}`. */
export function toCompatibilityBody(compatibility: Compatibility): Record<string, true> {
  return Object.fromEntries(compatibility.map((name) => [name, true]))
}
