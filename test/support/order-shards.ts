import { type Database, sqlRows } from '../../src/storage/database.js'
import type { Lease, LeaseSet } from '../../src/storage/leases.js'

const SHARDS = 256

export interface ScriptedLeases extends LeaseSet {
  gain(leases: readonly Lease[]): void
  lose(units: readonly number[]): void
}

/** The shards of one process: it has what a test gives it, under the epochs of the real table. */
export function createScriptedLeases(): ScriptedLeases {
  const owned = new Map<number, Lease>()
  const listeners: Parameters<LeaseSet['onChange']>[0][] = []
  const tell: Parameters<LeaseSet['onChange']>[0] = (change) => {
    for (const listener of listeners) listener(change)
  }
  return {
    name: 'scripted shards',
    start: async () => {},
    stop: async () => {},
    health: () => ({ ok: true }),
    owned: () => owned,
    get: (unit) => owned.get(unit),
    onChange: (listener) => void listeners.push(listener),
    gain(leases) {
      for (const lease of leases) owned.set(lease.unit, lease)
      tell({ gained: [...leases], lost: [] })
    },
    lose(units) {
      for (const unit of units) owned.delete(unit)
      tell({ gained: [], lost: [...units] })
    },
  }
}

/**
 * Moves every second shard, or all, to one process, as often and as fast as a test likes, within the contract of
 * leases: the loser is told first, and the next epoch begins only when no attempt of the loser is under way.
 */
export async function moveShards(
  db: Database,
  move: { from: ScriptedLeases; to: ScriptedLeases; half: boolean; quiet: () => Promise<void> },
): Promise<void> {
  const units = [...move.from.owned().keys()].filter((unit) => !move.half || unit % 2 === 0)
  if (units.length === 0) return
  move.from.lose(units)
  await move.quiet()
  move.to.gain(await nextEpoch(db, units))
}

export async function takeAllShards(db: Database, leases: ScriptedLeases): Promise<void> {
  const units = Array.from({ length: SHARDS }, (_, unit) => unit)
  leases.gain(await nextEpoch(db, units))
}

async function nextEpoch(db: Database, units: readonly number[]): Promise<Lease[]> {
  const rows = await sqlRows<{ unit: number; epoch: number }>(
    db,
    `update leases set epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 hour'
     where kind = 'delivery' and unit = any(?::int[]) returning unit, epoch`,
    [[...units]],
  )
  return rows.map(({ unit, epoch }) => ({
    unit,
    epoch: Number(epoch),
    endsAtMonotonicMs: Number.POSITIVE_INFINITY,
  }))
}
