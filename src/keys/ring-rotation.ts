import { Conflict } from '../kernel/errors.js'
import type { Database } from '../storage/database.js'
import type { AuditTrail } from './audit-trail.js'
import type { KeyChanges } from './key-changes.js'
import type { KeyRing, RingKeyTimes } from './key-ring.js'
import type { KeyState } from './signing-key.js'
import { databaseNowMs } from './signing-key-repository.js'

/** A new ring key is read by the other processes in this time, several times over. */
const RING_LEAD_MS = 60_000

/** A key of the ring. `retiring`: it seals no more, and opens what it sealed. */
export interface ListedRingKey extends RingKeyTimes {
  readonly state: Exclude<KeyState, 'retired'>
}

/** Changes of the ring that seals secrets. */
export function createRingRotation(options: {
  readonly db: Database
  readonly ring: KeyRing
  readonly audit: AuditTrail
  readonly leadMs: number
  readonly change: KeyChanges['change']
}) {
  const { db, ring, audit, change } = options

  async function listRing(): Promise<ListedRingKey[]> {
    const nowMs = await databaseNowMs(db)
    const active = ring.keys().find((key) => key.activeFrom.getTime() <= nowMs)
    return ring.keys().map(({ id, createdAt, activeFrom }) => {
      const state = activeFrom.getTime() > nowMs ? 'next' : id === active?.id ? 'active' : 'retiring'
      return { id, createdAt, activeFrom, state }
    })
  }

  return {
    /** The keys of the ring, the last to come into force first. */
    listRing,

    /**
     * Adds a key to the ring, by which new secrets are sealed once all processes have it; the hub's keys are then sealed
     * again by it. @throws Conflict when one waits already
     */
    async rotateRing(actor: string): Promise<ListedRingKey> {
      const id = await change(async (trx, _keys, nowMs) => {
        await ring.refresh()
        const waiting = ring.keys().find((key) => key.activeFrom.getTime() > nowMs)
        if (waiting) throw new Conflict(`The ring key ${waiting.id} waits already.`)
        const key = await ring.addKey(trx, Math.min(RING_LEAD_MS, options.leadMs))
        const detail = { active_from: key.activeFrom.toISOString() }
        await audit.record(trx, { actor, action: 'key_ring.rotated', target: `ring-key:${key.id}`, detail })
        return key.id
      })
      return (await listRing()).find((key) => key.id === id) as ListedRingKey
    },
  }
}
