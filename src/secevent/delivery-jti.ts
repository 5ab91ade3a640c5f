import { type Cipher, createCipheriv, createDecipheriv, type Decipher } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { dayOf } from '../kernel/clock.js'
import { eventIdTimeMs, toUuid } from '../kernel/ids.js'

/** Names each event towards each receiver, and reads the names back. */
export interface JtiCodec {
  /** `<yyyymmdd>-<22 characters>`: the same at every attempt, another for every receiver. */
  mint(eventId: string, receiverId: string): string
  /** The event that this receiver knows by that name; undefined when it was not made by `mint` for this receiver. */
  read(jti: string, receiverId: string): string | undefined
}

const FORM = /^(20\d{6})-([A-Za-z0-9_-]{22})$/
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const REMEMBERED_RECEIVERS = 10_000

/**
 * A `jti` is the event's id under a keyed permutation of 128 bits, a key per receiver (AES-128, one block, so no mode
 * and no nonce). It says nothing about the event to who lacks the key, two receivers cannot compare theirs, none can
 * be made up, and the hub needs neither a column nor an index to find the event of an acknowledgement (docs/adr/0013).
 * @param hmac keyed, at least 16 bytes of output
 */
export function createJtiCodec(hmac: (data: string) => Buffer): JtiCodec {
  const receivers = new LRUCache<string, { sealer: Cipher; opener: Decipher }>({
    max: REMEMBERED_RECEIVERS,
  })

  function permutationOf(receiverId: string) {
    let known = receivers.get(receiverId)
    if (!known) {
      const key = hmac(`receiver\n${receiverId}`).subarray(0, 16)
      // Without padding each block of 16 bytes comes out at once, so one object serves for all.
      known = {
        sealer: createCipheriv('aes-128-ecb', key, null).setAutoPadding(false),
        opener: createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false),
      }
      receivers.set(receiverId, known)
    }
    return known
  }

  return {
    mint(eventId, receiverId) {
      const block = permutationOf(receiverId).sealer.update(Buffer.from(eventId.replaceAll('-', ''), 'hex'))
      return `${dayMark(eventId)}-${block.toString('base64url')}`
    },
    read(jti, receiverId) {
      const [, day, mark] = FORM.exec(jti) ?? []
      if (!day || !mark) return undefined
      const block = Buffer.from(mark, 'base64url')
      // 22 characters hold 132 bits: of the spellings of one block only the canonical one is ours.
      if (block.toString('base64url') !== mark) return undefined
      const eventId = toUuid(permutationOf(receiverId).opener.update(block))
      return UUID_V7.test(eventId) && dayMark(eventId) === day ? eventId : undefined
    },
  }
}

/** The event's UTC day as `yyyymmdd`: any 48 bits of milliseconds are a time that a Date can hold. */
function dayMark(eventId: string): string {
  return dayOf(eventIdTimeMs(eventId)).replaceAll('-', '')
}
