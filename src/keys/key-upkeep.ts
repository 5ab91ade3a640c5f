import type { SetAlgorithm } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { resealDataKeys } from './data-keys.js'
import type { KeyChanges } from './key-changes.js'
import { makeKeyMaterial } from './key-material.js'
import type { KeyRing } from './key-ring.js'
import { activeKey, type KeyUse, type SigningKey, signsUntil, stateOf } from './signing-key.js'
import { databaseNowMs, readSigningKeys, resealSigningKeys } from './signing-key-repository.js'

export interface KeyUpkeepOptions {
  readonly db: Database
  readonly ring: KeyRing
  /** A new key is published this long before it signs. */
  readonly leadMs: number
  /** A replaced key stays published this long after its last signature. */
  readonly graceMs: Readonly<Record<KeyUse, number>>
  /** A key that is this old is replaced; undefined: never. */
  readonly rotateAfterMs?: number | undefined
  /** Algorithms whose keys come from files: replacing the file is their rotation. */
  readonly fromFiles: readonly SetAlgorithm[]
  /** Whether a SET that was handed out before that moment is still open: its receiver may verify it yet. */
  isOutstanding(beforeMs: number): Promise<boolean>
  /** After the commit. */
  changed(): Promise<void>
}

/**
 * Retires what is due, replaces what is too old, and seals again what an older key of the ring sealed. Any process may
 * ask, at any time. @returns whether a signing key was retired or replaced
 */
export function createKeyUpkeep(options: KeyUpkeepOptions, changes: KeyChanges): () => Promise<boolean> {
  const { db } = options
  return async () => {
    await reseal(options)
    const known = await readSigningKeys(db)
    const nowMs = await databaseNowMs(db)
    const due = (await findDue(known, nowMs, options)).map((key) => key.kid)
    const old = tooOld(known, nowMs, options)
    if (due.length === 0 && old.length === 0) return false
    const materials = await Promise.all(
      old.map(async (key) => ({ use: key.use, material: await makeKeyMaterial(key.alg) })),
    )
    await changes.change(async (trx, keys, lockedNowMs) => {
      // Another process may have come first.
      const still = tooOld(keys, lockedNowMs, options).map((key) => `${key.use} ${key.alg}`)
      for (const { use, material } of materials) {
        if (!still.includes(`${use} ${material.alg}`)) continue
        await changes.add(trx, { material, use, origin: 'generated', leadMs: options.leadMs }, 'hub')
      }
      for (const key of keys) {
        if (due.includes(key.kid) && !key.retiredAt) await changes.retire(trx, key, 'hub')
      }
    })
    return true
  }
}

/** A few keys at a time, and the rest in the next round: whoever is stopped leaves nothing half-done. */
async function reseal({ db, ring, changed }: KeyUpkeepOptions): Promise<void> {
  if (ring.keys().length < 2) return
  const count = (await resealSigningKeys(db, ring)) + (await resealDataKeys(db, ring))
  if (count > 0) await changed()
}

/** Retiring keys of which nobody can need the public part any more. */
async function findDue(
  keys: readonly SigningKey[],
  nowMs: number,
  { graceMs, isOutstanding }: KeyUpkeepOptions,
): Promise<SigningKey[]> {
  const due: SigningKey[] = []
  for (const key of keys) {
    if (stateOf(key, keys, nowMs) !== 'retiring') continue
    const until = signsUntil(key, keys)?.getTime()
    if (until === undefined || nowMs < until + graceMs[key.use]) continue
    if (key.use === 'log' || !(await isOutstanding(until))) due.push(key)
  }
  return due
}

/** Active keys past their age that nothing waits to replace and no file supplies. */
function tooOld(
  keys: readonly SigningKey[],
  nowMs: number,
  { rotateAfterMs, fromFiles }: KeyUpkeepOptions,
): SigningKey[] {
  if (rotateAfterMs === undefined) return []
  return keys.filter(
    (key) =>
      activeKey(keys, key, nowMs)?.kid === key.kid &&
      !signsUntil(key, keys) &&
      nowMs - key.activeFrom.getTime() > rotateAfterMs &&
      !(key.use === 'set' && fromFiles.includes(key.alg)),
  )
}
