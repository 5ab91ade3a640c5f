import { createHash, timingSafeEqual } from 'node:crypto'

/**
 * Plain SHA-256 suffices because every secret is 256 random bits: there is no dictionary to slow down. Looking a
 * token up by its hash also leaves no comparison whose time depends on the token.
 */
export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** Compares in a time that does not depend on where the two differ. */
export function isSameHash(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
