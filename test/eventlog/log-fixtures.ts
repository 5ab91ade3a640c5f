import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import type { SlotOwnership } from '../../src/eventlog/event-log.js'
import type { LogKeys } from '../../src/eventlog/record-codec.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { type SecurityEvent, SLOT_COUNT } from '../../src/secevent/event.js'

export const ISSUER = 'https://hub.example'
export const clock = createClock()
const nextEventId = createEventIds(clock)

/** A valid event; what the test is about goes into `over`. */
export function makeEvent(over: Partial<SecurityEvent> = {}): SecurityEvent {
  const user = over.orderKey ?? 'user-1@example.com'
  return {
    eventId: nextEventId(),
    acceptedAtMs: Math.floor(clock.now()),
    lane: 'urgent',
    effect: 'tightens',
    type: 'https://schemas.openid.net/secevent/caep/event-type/session-revoked',
    subject: { format: 'email', email: user },
    claims: { event_timestamp: 1_700_000_000, reason_admin: { en: 'Grüße, 終了' } },
    txn: randomUUID(),
    sourceId: randomUUID(),
    sourceIssuer: 'https://idp.example',
    sourceJti: randomUUID(),
    contentHash: 'aGFzaA',
    orderKey: user,
    slot: 7,
    ...over,
  }
}

export interface TestKeys extends LogKeys {
  /** Makes a key and signs with it from now on; known to others only after their `refresh`. */
  rotate(): void
}

/** Keys as several processes share them: each sees what was stored when it last looked. */
export function createTestKeyStore(): { open(): TestKeys } {
  const stored = new Map<string, { publicKey: KeyObject; privateKey: KeyObject }>()
  const add = () => {
    const kid = `log-${stored.size + 1}`
    stored.set(kid, generateKeyPairSync('ec', { namedCurve: 'P-256' }))
    return kid
  }
  let active = add()
  return {
    open() {
      const publicKeys = () => new Map([...stored].map(([kid, pair]) => [kid, pair.publicKey]))
      let seen = publicKeys()
      let own = active
      return {
        logSigningKey: () => ({ kid: own, privateKey: stored.get(own)?.privateKey as KeyObject }),
        logPublicKeys: () => seen,
        async refresh() {
          seen = publicKeys()
        },
        rotate() {
          own = active = add()
        },
      }
    },
  }
}

export interface TestSlots extends SlotOwnership {
  set(slots: readonly number[]): void
}

/** All slots at first, as in a process that is alone. */
export function createTestSlots(): TestSlots {
  let owned = new Map(Array.from({ length: SLOT_COUNT }, (_, slot) => [slot, {}]))
  const listeners: (() => void)[] = []
  return {
    owned: () => owned,
    onChange: (listener) => void listeners.push(listener),
    set(slots) {
      owned = new Map(slots.map((slot) => [slot, {}]))
      for (const listener of listeners) listener()
    },
  }
}

/** A private key that no hub has. */
export const foreignKeyPair = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
