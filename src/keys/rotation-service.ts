import { Conflict, NotFound } from '../kernel/errors.js'
import type { SetAlgorithm } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { resealDataKeys } from './data-keys.js'
import { type KeyMaterial, makeKeyMaterial } from './key-material.js'
import { type KeyRing, lockKeyCreation, type RingKeyTimes } from './key-ring.js'
import { activeKey, type KeyState, type KeyUse, type SigningKey, signsUntil, stateOf } from './signing-key.js'
import {
  databaseNowMs,
  insertSigningKey,
  readSigningKeys,
  resealSigningKeys,
  retireSigningKey,
} from './signing-key-repository.js'

/** A new ring key is read by the other processes in this time, several times over. */
const RING_LEAD_MS = 60_000
/** How long the other processes are given when a key is to sign at once. They read the keys three times in it. */
const AT_ONCE_LEAD_MS = 30_000
const ALGORITHMS: Readonly<Record<KeyUse, readonly SetAlgorithm[]>> = {
  set: ['RS256', 'ES256'],
  log: ['ES256'],
}

/** What this room needs of the audit log: one row, in the transaction of the change it tells of. */
export interface AuditTrail {
  record(
    trx: Database,
    entry: { actor: string; action: string; target?: string; detail?: object },
  ): Promise<void>
}

export interface ListedKey extends Omit<SigningKey, 'sealedPrivate' | 'publicJwk'> {
  readonly state: KeyState
  /** When it may be retired at the earliest; null while nothing replaces it. */
  readonly retiresAt: Date | null
}

/** A key of the ring. `retiring`: it seals no more, and opens what it sealed. */
export interface ListedRingKey extends RingKeyTimes {
  readonly state: Exclude<KeyState, 'retired'>
}

export interface RotationServiceOptions {
  readonly db: Database
  readonly ring: KeyRing
  readonly audit: AuditTrail
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

export type RotationService = ReturnType<typeof createRotationService>

/** Changes of the signing keys. Each holds the lock by which processes make keys one at a time, and writes its audit row. */
export function createRotationService(options: RotationServiceOptions) {
  const { db, ring, audit } = options

  async function change<T>(
    work: (trx: Database, keys: SigningKey[], nowMs: number) => Promise<T>,
  ): Promise<T> {
    const done = await db.transaction(async (trx) => {
      await lockKeyCreation(trx)
      return await work(trx, await readSigningKeys(trx, true), await databaseNowMs(trx))
    })
    await options.changed()
    return done
  }

  async function add(
    trx: Database,
    key: { material: KeyMaterial; use: KeyUse; origin: 'generated' | 'file'; leadMs: number },
    actor: string,
  ): Promise<string> {
    const { kid, alg, activeFrom } = await insertSigningKey(trx, ring, key)
    const action = key.origin === 'file' ? 'key.imported' : 'key.rotated'
    const detail = { use: key.use, alg, active_from: activeFrom.toISOString() }
    await audit.record(trx, { actor, action, target: `key:${kid}`, detail })
    return kid
  }

  function toListed(key: SigningKey, keys: readonly SigningKey[], nowMs: number): ListedKey {
    const { sealedPrivate: _secret, publicJwk: _jwk, ...shown } = key
    const until = key.retiredAt ? undefined : signsUntil(key, keys)
    const retiresAt = until ? new Date(until.getTime() + options.graceMs[key.use]) : null
    return { ...shown, state: stateOf(key, keys, nowMs), retiresAt }
  }

  async function listed(kids?: readonly string[]): Promise<ListedKey[]> {
    const keys = await readSigningKeys(db, true)
    const nowMs = await databaseNowMs(db)
    return keys.filter((key) => !kids || kids.includes(key.kid)).map((key) => toListed(key, keys, nowMs))
  }

  /** Retiring keys of which nobody can need the public part any more. */
  async function findDue(keys: readonly SigningKey[], nowMs: number): Promise<SigningKey[]> {
    const due: SigningKey[] = []
    for (const key of keys) {
      if (stateOf(key, keys, nowMs) !== 'retiring') continue
      const until = signsUntil(key, keys)?.getTime()
      if (until === undefined || nowMs < until + options.graceMs[key.use]) continue
      if (key.use === 'log' || !(await options.isOutstanding(until))) due.push(key)
    }
    return due
  }

  /** A few keys at a time, and the rest in the next round: whoever is stopped leaves nothing half-done. */
  async function reseal(): Promise<void> {
    if (ring.keys().length < 2) return
    const count = (await resealSigningKeys(db, ring)) + (await resealDataKeys(db, ring))
    if (count > 0) await options.changed()
  }

  async function retire(trx: Database, key: SigningKey, actor: string): Promise<void> {
    await retireSigningKey(trx, key.kid)
    const detail = { use: key.use, alg: key.alg }
    await audit.record(trx, { actor, action: 'key.retired', target: `key:${key.kid}`, detail })
  }

  return {
    /** All keys ever, the last to come into force first. */
    list: () => listed(),

    /**
     * Publishes a new key for each algorithm that is asked for; it signs once its time has come.
     * @param asked.now for a key that leaked: it signs as soon as the other processes have it
     * @throws Conflict when one waits already, or comes from a file
     */
    async rotate(
      asked: { use: KeyUse; alg?: SetAlgorithm; now?: boolean },
      actor: string,
    ): Promise<ListedKey[]> {
      const { use } = asked
      const algorithms = asked.alg ? [asked.alg] : ALGORITHMS[use]
      const file = use === 'set' && algorithms.find((alg) => options.fromFiles.includes(alg))
      if (file) {
        throw new Conflict(`The ${file} key comes from SIGNING_KEY_FILES: replace that file to rotate it.`)
      }
      const materials = await Promise.all(algorithms.map(makeKeyMaterial))
      const leadMs = asked.now ? Math.min(AT_ONCE_LEAD_MS, options.leadMs) : options.leadMs
      const kids = await change(async (trx, keys, nowMs) => {
        const waiting = keys.find(
          (key) => key.use === use && algorithms.includes(key.alg) && stateOf(key, keys, nowMs) === 'next',
        )
        if (waiting && !asked.now) {
          throw new Conflict(
            `The ${use} key ${waiting.kid} waits already; it signs from ${waiting.activeFrom.toISOString()} on.`,
          )
        }
        const added: string[] = []
        for (const material of materials) {
          added.push(await add(trx, { material, use, origin: 'generated', leadMs }, actor))
        }
        return added
      })
      return await listed(kids)
    },

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
      return (await this.listRing()).find((key) => key.id === id) as ListedRingKey
    },

    /** The keys of the ring, the last to come into force first. */
    async listRing(): Promise<ListedRingKey[]> {
      const nowMs = await databaseNowMs(db)
      const active = ring.keys().find((key) => key.activeFrom.getTime() <= nowMs)
      return ring.keys().map(({ id, createdAt, activeFrom }) => {
        const state = activeFrom.getTime() > nowMs ? 'next' : id === active?.id ? 'active' : 'retiring'
        return { id, createdAt, activeFrom, state }
      })
    },

    /** Takes a key that signs no longer out of the published ones at once. @throws NotFound, Conflict */
    async retire(kid: string, actor: string): Promise<ListedKey> {
      await change(async (trx, keys, nowMs) => {
        const key = keys.find((candidate) => candidate.kid === kid)
        if (!key) throw new NotFound('There is no key with this kid.')
        const state = stateOf(key, keys, nowMs)
        if (state === 'active') throw new Conflict('This key signs now: rotate it first.')
        if (state === 'next') throw new Conflict('This key is about to sign: wait until another replaces it.')
        if (state === 'retiring') await retire(trx, key, actor)
      })
      return (await listed([kid]))[0] as ListedKey
    },

    /** Retires what is due and replaces what is too old. Any process may ask, at any time. @returns whether anything was */
    async keepUp(): Promise<boolean> {
      await reseal()
      const known = await readSigningKeys(db)
      const nowMs = await databaseNowMs(db)
      const due = (await findDue(known, nowMs)).map((key) => key.kid)
      const old = tooOld(known, nowMs, options)
      if (due.length === 0 && old.length === 0) return false
      const materials = await Promise.all(
        old.map(async (key) => ({ use: key.use, material: await makeKeyMaterial(key.alg) })),
      )
      await change(async (trx, keys, lockedNowMs) => {
        // Another process may have come first.
        const still = tooOld(keys, lockedNowMs, options).map((key) => `${key.use} ${key.alg}`)
        for (const { use, material } of materials) {
          if (!still.includes(`${use} ${material.alg}`)) continue
          await add(trx, { material, use, origin: 'generated', leadMs: options.leadMs }, 'hub')
        }
        for (const key of keys) if (due.includes(key.kid) && !key.retiredAt) await retire(trx, key, 'hub')
      })
      return true
    },

    /**
     * Brings a key in from a file, if it is not known yet; it signs after the same time as any new key.
     * @throws Conflict when the key was replaced before: a key never comes back
     */
    async bringIn(material: KeyMaterial): Promise<void> {
      const { kid } = material
      const present = (keys: readonly SigningKey[], nowMs: number): boolean => {
        const key = keys.find((candidate) => candidate.kid === kid)
        const state = key && stateOf(key, keys, nowMs)
        if (key?.use === 'log' || state === 'retiring' || state === 'retired') {
          throw new Conflict(`the key ${kid} was replaced before and does not come back: make a new one`)
        }
        return key !== undefined
      }
      if (present(await readSigningKeys(db, true), await databaseNowMs(db))) return
      await change(async (trx, keys, nowMs) => {
        if (present(keys, nowMs)) return
        await add(trx, { material, use: 'set', origin: 'file', leadMs: options.leadMs }, 'hub')
      })
    },
  }
}

/** Active keys past their age that nothing waits to replace and no file supplies. */
function tooOld(
  keys: readonly SigningKey[],
  nowMs: number,
  { rotateAfterMs, fromFiles }: Pick<RotationServiceOptions, 'rotateAfterMs' | 'fromFiles'>,
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
