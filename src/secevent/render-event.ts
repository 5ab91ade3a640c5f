import { isJsonObject } from './canonical-json.js'
import type { AccessEffect, Subject } from './event.js'
import { EVENT_TYPES } from './event-types.js'
import { declaredMembers } from './validate-event.js'

/**
 * How an event becomes the content of a SET. Kept on each delivery, so that every attempt at it says the same
 * (docs/adr/0018). Numbers are stored: never reuse one.
 */
export const RENDERING = {
  plain: 1,
  /** CAEP interoperability profile, draft 01. */
  caepInterop: 2,
} as const

export interface RenderableEvent {
  readonly type: string
  readonly effect: AccessEffect
  readonly subject: Subject
  readonly claims: Readonly<Record<string, unknown>>
}

export type RenderedEvent = Pick<RenderableEvent, 'subject' | 'claims'>

export type Rendering = { readonly content: RenderedEvent } | { readonly refusal: string }

/** Formats of a subject on an event (CAEP interoperability profile §2.5). */
const INTEROP_FORMATS = ['email', 'iss_sub']

/** Pure. `refusal`: the event has no form under this rendering, and why. */
export function renderEvent(rendering: number, event: RenderableEvent): Rendering {
  if (rendering !== RENDERING.caepInterop || EVENT_TYPES.get(event.type)?.family === 'SSF') {
    return { content: { subject: event.subject, claims: event.claims } }
  }
  const subject = interopSubject(event)
  if (!subject) {
    const { effect } = event
    const what = `${effect === 'loosens' ? 'an event that loosens access with ' : ''}a subject`
    return { refusal: `the profile caep-interop has no form for ${what} of ${formatOf(event.subject)}` }
  }
  return { content: { subject, claims: withReason(event) } }
}

/**
 * The event's own subject, or the user of a complex one: whom the event is about, in a form every receiver reads. The
 * user alone is wider than the whole, so an all-clear for one device or session must not become one for the user.
 */
function interopSubject({ subject, effect }: RenderableEvent): Subject | undefined {
  if (INTEROP_FORMATS.includes(subject.format)) return subject
  if (subject.format !== 'complex' || effect === 'loosens') return undefined
  const user = subject.user as Subject | undefined
  return user && INTEROP_FORMATS.includes(user.format) ? user : undefined
}

function formatOf(subject: Subject): string {
  if (subject.format !== 'complex') return `format ${subject.format}`
  const user = subject.user as Subject | undefined
  return user ? `format complex with a user of format ${user.format}` : 'format complex without a user'
}

/** Its §3 wants a non-empty `reason_admin` on every event that it knows; other types have what they declare. */
function withReason({ type, claims }: RenderableEvent): Readonly<Record<string, unknown>> {
  if (!declaredMembers(type)?.has('reason_admin') || hasText(claims.reason_admin)) return claims
  const name = EVENT_TYPES.get(type)?.name ?? type
  return { ...claims, reason_admin: { en: `${name}; its source gave no reason` } }
}

function hasText(reason: unknown): boolean {
  return isJsonObject(reason) && Object.values(reason).some((text) => typeof text === 'string' && text !== '')
}
