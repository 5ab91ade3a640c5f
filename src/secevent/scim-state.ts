import { isJsonObject } from './canonical-json.js'
import type { AccessEffect } from './event.js'

/** SCIM paths ignore case (RFC 7643 §2.1); with its schema's URN in front it is the same attribute. */
const ACTIVE = /^(urn:[^ ]*:)?active$/i

/**
 * What a SCIM put or patch does to access (RFC 9967 §2.4), as far as `active` says it: false tightens, true loosens,
 * nothing is neutral. Neither class would do for all of them: as neutral a `full` event with `active: true` could come
 * after a newer deactivation and undo it, and as tightening every change of a display name would hold an activation
 * back. A `notice` names attributes without values: that `active` is among them tightens, and does no harm when it is
 * not so, because the receiver then asks for the state.
 */
export function stateEffect(claims: Readonly<Record<string, unknown>>): AccessEffect {
  const { attributes, data } = claims
  if (Array.isArray(attributes)) return attributes.some(isActive) ? 'tightens' : 'neutral'
  if (!isJsonObject(data)) return 'neutral'
  const values = [...valuesIn(data), ...operationsOf(data).flatMap(valuesOf)]
  if (values.length === 0) return 'neutral'
  return values.every((value) => value === true) ? 'loosens' : 'tightens'
}

/** RFC 7644 §3.5.2: the body of a PATCH. */
function operationsOf(data: Readonly<Record<string, unknown>>): Record<string, unknown>[] {
  const operations = memberOf(data, 'operations')
  return Array.isArray(operations) ? operations.filter(isJsonObject) : []
}

/** What one operation makes of `active`; a removal leaves none, which is not true. */
function valuesOf(operation: Readonly<Record<string, unknown>>): unknown[] {
  const path = memberOf(operation, 'path')
  const value = memberOf(operation, 'value')
  if (path === undefined) return isJsonObject(value) ? valuesIn(value) : []
  return isActive(path) ? [asBoolean(value)] : []
}

function valuesIn(resource: Readonly<Record<string, unknown>>): unknown[] {
  return Object.entries(resource)
    .filter(([name]) => isActive(name))
    .map(([, value]) => asBoolean(value))
}

/** Some clients send "True". */
function asBoolean(value: unknown): unknown {
  return typeof value === 'string' ? value.toLowerCase() === 'true' : value
}

const isActive = (name: unknown): boolean => typeof name === 'string' && ACTIVE.test(name)

function memberOf(object: Readonly<Record<string, unknown>>, wanted: string): unknown {
  return Object.entries(object).find(([name]) => name.toLowerCase() === wanted)?.[1]
}
