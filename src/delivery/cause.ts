import { HUB_SOURCE_ID } from '../secevent/event.js'

/** A cause as stored: the source in the upper bits, what the source calls the cause in the lower. */
export const CAUSE_BITS = 16
const SOURCES = 2 ** 14

/**
 * Two causes with one number share a turn, which costs them a little speed and nothing else. The upper bits come from
 * an id that the hub gives, so by its choice of `txn` a source can only take turns from itself. What the hub says of a
 * stream is all about that stream, and goes out in order: it is one cause.
 */
export function causeOf(sourceId: string, txn: string): number {
  // 0 is what older releases wrote: a source of its own.
  const source = 1 + (hash(sourceId) % (SOURCES - 1))
  const cause = sourceId === HUB_SOURCE_ID ? '' : txn
  return source * 2 ** CAUSE_BITS + (hash(cause) % 2 ** CAUSE_BITS)
}

/** FNV-1a, 32 bits, then mixed: the lower bits alone must be spread well. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  }
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  return (value ^ (value >>> 16)) >>> 0
}
