import { LRUCache } from 'lru-cache'
import { dayOf } from '../kernel/clock.js'
import { SealBroken } from '../keys/aead.js'
import type { SecurityEvent } from '../secevent/event.js'
import { factOf } from '../secevent/fact.js'
import { eventTimestampMs } from '../secevent/security-event.js'
import type { PreparedEvent } from './fan-out-repository.js'
import type { EventContent } from './open-delivery.js'

interface ContentKeys {
  hmac(purpose: 'subject' | 'event-key', data: string): Buffer
  contentCipher(day: string): Promise<{ seal(plain: Buffer): Buffer; open(sealed: Buffer): Buffer }>
}

/** Hashes the keys of an event and seals what identifies a person under the day's key. */
export function createEventPreparer(keys: ContentKeys) {
  return async function prepare(event: SecurityEvent): Promise<PreparedEvent> {
    const day = dayOf(event.acceptedAtMs)
    const cipher = await keys.contentCipher(day)
    const fact = factOf(event)
    return {
      event,
      day,
      // No issuer is empty, so no fact shares a hash with a key. Half of it: it is written and indexed for each event.
      ...(fact && {
        fact: { hash: keys.hmac('event-key', `\n${fact.text}`).subarray(0, 16), dated: fact.dated },
      }),
      // The separator cannot stand in an issuer, so no two pairs share a key.
      keyHash: keys.hmac('event-key', `${event.sourceIssuer}\n${event.sourceJti}`),
      // Keyed: it outlives the content, and a plain hash would let anybody try short identifiers. It has no separator.
      contentHash: keys.hmac('event-key', event.contentHash),
      orderHash: event.subject ? keys.hmac('subject', event.orderKey) : undefined,
      eventTimestampMs: eventTimestampMs(event.claims) ?? null,
      sealedContent: cipher.seal(
        Buffer.from(JSON.stringify({ sub_id: event.subject, claims: event.claims })),
      ),
    }
  }
}

/** An event goes to many streams within seconds; after a minute what a key protects is under it again. */
const OPENED = { maxSize: 16_777_216, ttl: 60_000 }

/**
 * Opens what `prepare` sealed; undefined when it does not open, and never will. What was erased is still owed, with
 * nothing personal left in it.
 */
export function createContentOpener(keys: Pick<ContentKeys, 'contentCipher'>) {
  const opened = new LRUCache<string, EventContent>(OPENED)

  return async function openContent(row: {
    delivery: { eventId: string }
    day: string
    sealedContent: Buffer | null
  }): Promise<EventContent | undefined> {
    if (!row.sealedContent) return { subject: { format: 'opaque', id: 'erased' }, claims: {} }
    const known = opened.get(row.delivery.eventId)
    if (known) return known
    // Outside: a day's key that this process cannot open for now says nothing of the content. That is tried again.
    const cipher = await keys.contentCipher(row.day)
    try {
      const { sub_id, claims } = JSON.parse(cipher.open(row.sealedContent).toString('utf8')) as {
        sub_id: EventContent['subject']
        claims: EventContent['claims']
      }
      const content = { subject: sub_id, claims }
      opened.set(row.delivery.eventId, content, { size: row.sealedContent.length })
      return content
    } catch (error) {
      if (error instanceof SealBroken || error instanceof SyntaxError) return undefined
      throw error
    }
  }
}
