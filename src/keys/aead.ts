import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { HubError } from '../kernel/errors.js'

const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Sealed bytes that do not open: another key, another context, or changed. Trying again cannot help. */
export class SealBroken extends HubError {
  readonly code = 'ERR_SEAL_BROKEN'
  readonly status = 500
  override readonly failureClass = 'park' as const
}

/** AES-256-GCM: random nonce, then the text, then the tag. `context` must be the same when it is opened. */
export function encrypt(key: Buffer, plain: Buffer, context: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** @throws SealBroken */
export function decrypt(key: Buffer, sealed: Buffer, context: string): Buffer {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new SealBroken('A stored secret is cut short.')
  const tagAt = sealed.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(tagAt))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, tagAt)), decipher.final()])
  } catch (cause) {
    throw new SealBroken('A stored secret does not open: it was sealed by another key or changed.', {
      cause,
      detail: `context ${context.split(' ')[0]}`,
    })
  }
}

/** One secret, many keys: each purpose gets 32 bytes of its own (RFC 5869, SHA-256). */
export function deriveKey(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), `firebreak ${purpose}`, 32))
}
