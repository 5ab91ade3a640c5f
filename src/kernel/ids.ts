import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import type { Clock } from './clock.js'

/** Random 256-bit secret with a readable prefix, e.g. `fbk_admin_…`. */
export function newSecret(prefix: string): string {
  return `${prefix}_${randomBytes(32).toString('base64url')}`
}

export const newId = (): string => randomUUID()

/**
 * Gives event ids that are also the hub order: RFC 9562 UUIDv7 whose bytes sort by accept time
 * (ms, then 1/4096 ms), then counter, then process. Strictly increasing inside a process.
 */
export function createEventIds(clock: Clock): () => string {
  const process16 = randomInt(0, 1 << 16)
  let lastTick = 0
  let counter = 0
  return () => {
    // 1/4096 ms ticks stay below 2^53 until the year 2039.
    const tick = Math.floor(clock.now() * 4096)
    if (tick > lastTick) {
      lastTick = tick
      counter = 0
    } else {
      counter += 1
    }
    const ms = Math.floor(lastTick / 4096)
    const fraction = lastTick % 4096
    const bytes = Buffer.alloc(16)
    bytes.writeUIntBE(ms, 0, 6)
    bytes.writeUInt16BE(0x7000 | fraction, 6)
    // The counter stands above the process so that a burst in one tick keeps its order.
    bytes.writeUInt16BE(0x8000 | (counter >>> 18), 8)
    bytes.writeUInt16BE((counter >>> 2) & 0xffff, 10)
    bytes.writeUInt16BE((counter & 3) << 14, 12)
    bytes.writeUInt16BE(process16, 14)
    return toUuid(bytes)
  }
}

/** 16 bytes in the text form of RFC 9562 §4. */
export function toUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The accept time of an event id, in whole ms since the epoch. */
export function eventIdTimeMs(eventId: string): number {
  return Number.parseInt(eventId.slice(0, 8) + eventId.slice(9, 13), 16)
}

/** Sorts before all event ids of this time and after, ms since the epoch, and after those of the time before. */
export function firstEventIdAt(ms: number): string {
  const bytes = Buffer.alloc(16)
  bytes.writeUIntBE(Math.floor(ms), 0, 6)
  return toUuid(bytes)
}
