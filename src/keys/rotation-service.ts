import { Conflict, NotFound } from '../kernel/errors.js'
import type { SetAlgorithm } from '../secevent/sign.js'
import type { AuditTrail } from './audit-trail.js'
import { createKeyChanges, type KeyChanges } from './key-changes.js'
import { type KeyMaterial, makeKeyMaterial } from './key-material.js'
import { createKeyUpkeep, type KeyUpkeepOptions } from './key-upkeep.js'
import { createRingRotation } from './ring-rotation.js'
import { type KeyState, type KeyUse, type SigningKey, signsUntil, stateOf } from './signing-key.js'
import { databaseNowMs, readSigningKeys } from './signing-key-repository.js'

/**
 * How long the other processes are given when a key is to sign at once, or a waiting one never: they read the keys three
 * times in it.
 */
const AT_ONCE_LEAD_MS = 30_000
const ALGORITHMS: Readonly<Record<KeyUse, readonly SetAlgorithm[]>> = {
  set: ['RS256', 'ES256'],
  log: ['ES256'],
}

export interface ListedKey extends Omit<SigningKey, 'sealedPrivate' | 'publicJwk'> {
  readonly state: KeyState
  /** When it may be retired at the earliest; null while nothing replaces it. */
  readonly retiresAt: Date | null
}

export interface RotationServiceOptions extends KeyUpkeepOptions {
  readonly audit: AuditTrail
}

export interface Rotation {
  readonly use: KeyUse
  readonly alg?: SetAlgorithm
  /** For a key that leaked: the new one signs as soon as the other processes have it, and those that wait never do. */
  readonly now?: boolean
}

export type RotationService = ReturnType<typeof createRotationService>

/** Changes of the signing keys. Each holds the lock by which processes make keys one at a time, and writes its audit row. */
export function createRotationService(options: RotationServiceOptions) {
  const { db } = options
  const changes = createKeyChanges(options)

  async function listed(kids?: readonly string[]): Promise<ListedKey[]> {
    const keys = await readSigningKeys(db, true)
    const nowMs = await databaseNowMs(db)
    return keys
      .filter((key) => !kids || kids.includes(key.kid))
      .map((key) => toListed(key, { keys, nowMs, graceMs: options.graceMs }))
  }

  return {
    ...createRingRotation({ ...options, change: changes.change }),

    /** All keys ever, the last to come into force first. */
    list: () => listed(),

    /**
     * Publishes a new key for each algorithm that is asked for; it signs once its time has come. At once, a key from a
     * file is the one that waits, as its file was replaced.
     * @throws Conflict when one waits already, or must come from a file
     */
    rotate: async (asked: Rotation, actor: string): Promise<ListedKey[]> =>
      await listed(await rotate(asked, actor, { ...options, changes })),

    /**
     * Takes a key that signs no longer, or not soon, out of the published ones at once.
     * @throws NotFound, Conflict
     */
    async retire(kid: string, actor: string): Promise<ListedKey> {
      await retire(kid, actor, { ...options, changes })
      return (await listed([kid]))[0] as ListedKey
    },

    /** Retires what is due and replaces what is too old. Any process may ask, at any time. @returns whether anything was */
    keepUp: createKeyUpkeep(options, changes),

    /**
     * Brings a key in from a file, if it is not known yet; it signs after the same time as any new key.
     * @throws Conflict when the key was replaced or retired before: a key never comes back
     */
    async bringIn(material: KeyMaterial): Promise<void> {
      const { kid } = material
      if (isPresent(kid, await readSigningKeys(db, true), await databaseNowMs(db))) return
      await changes.change(async (trx, keys, nowMs) => {
        if (isPresent(kid, keys, nowMs)) return
        await changes.add(trx, { material, use: 'set', origin: 'file', leadMs: options.leadMs }, 'hub')
      })
    },
  }
}

type Parts = RotationServiceOptions & { readonly changes: KeyChanges }

/** @returns the kids of the new keys */
async function rotate(asked: Rotation, actor: string, parts: Parts): Promise<string[]> {
  const { changes, leadMs } = parts
  const { use, now = false } = asked
  const algorithms = asked.alg ? [asked.alg] : ALGORITHMS[use]
  const files = use === 'set' ? algorithms.filter((alg) => parts.fromFiles.includes(alg)) : []
  if (files[0] && !now) throw comesFromFile(files[0], parts.fromFiles)
  const others = algorithms.filter((alg) => !files.includes(alg))
  const materials = await Promise.all(others.map(makeKeyMaterial))
  return await changes.change(async (trx, keys, nowMs) => {
    const waiting = keys.filter(
      (key) => key.use === use && algorithms.includes(key.alg) && stateOf(key, keys, nowMs) === 'next',
    )
    if (waiting[0] && !now) throw waitsAlready(waiting[0])
    // The last to come into force is first: the newest file.
    const replacing = files.map((alg) => {
      const key = waiting.find((candidate) => candidate.alg === alg && candidate.origin === 'file')
      if (!key) throw comesFromFile(alg, parts.fromFiles)
      return key
    })
    for (const key of waiting) {
      // What signs within the lead is overtaken by the new key, which comes later.
      if (!isFarOff(key, nowMs, leadMs)) continue
      if (replacing.includes(key)) await changes.hasten(trx, key, atOnce(leadMs), actor)
      else await changes.retire(trx, key, actor)
    }
    const kids = replacing.map(({ kid }) => kid)
    for (const material of materials) {
      const key = { material, use, origin: 'generated', leadMs: now ? atOnce(leadMs) : leadMs } as const
      kids.push(await changes.add(trx, key, actor))
    }
    return kids
  })
}

async function retire(kid: string, actor: string, { ring, leadMs, changes }: Parts): Promise<void> {
  await changes.change(async (trx, keys, nowMs) => {
    const key = keys.find((candidate) => candidate.kid === kid)
    if (!key) {
      await ring.refresh()
      if (!ring.keys().some(({ id }) => id === kid)) throw new NotFound('There is no key with this kid.')
      throw new Conflict('This is a key of the ring. Those stay: they open what they sealed.')
    }
    const state = stateOf(key, keys, nowMs)
    if (state === 'retired') return
    if (state === 'active') throw new Conflict('This key signs now: rotate it first.')
    if (state === 'next' && !isFarOff(key, nowMs, leadMs)) {
      throw new Conflict(
        `This key signs from ${key.activeFrom.toISOString()} on, too soon to stop it everywhere: rotate at once, and retire it when it is replaced.`,
      )
    }
    await changes.retire(trx, key, actor)
  })
}

const atOnce = (leadMs: number): number => Math.min(AT_ONCE_LEAD_MS, leadMs)

/** Whether all processes hear of a change before the key signs: they have it, and take it up by themselves at its time. */
const isFarOff = (key: SigningKey, nowMs: number, leadMs: number): boolean =>
  key.activeFrom.getTime() - nowMs > atOnce(leadMs)

function waitsAlready({ use, kid, activeFrom }: SigningKey): Conflict {
  return new Conflict(`The ${use} key ${kid} waits already; it signs from ${activeFrom.toISOString()} on.`)
}

function comesFromFile(alg: SetAlgorithm, fromFiles: readonly SetAlgorithm[]): Conflict {
  const [other] = ALGORITHMS.set.filter((candidate) => !fromFiles.includes(candidate))
  const rest = other ? ` The ${other} key can be rotated alone: --alg ${other}.` : ''
  return new Conflict(
    `The ${alg} key comes from SIGNING_KEY_FILES: replace that file to rotate it; once the new key waits, --now lets it sign at once.${rest}`,
  )
}

function toListed(
  key: SigningKey,
  { keys, nowMs, graceMs }: { keys: readonly SigningKey[]; nowMs: number; graceMs: Record<KeyUse, number> },
): ListedKey {
  const { sealedPrivate: _secret, publicJwk: _jwk, ...shown } = key
  const until = key.retiredAt ? undefined : signsUntil(key, keys)
  const retiresAt = until ? new Date(until.getTime() + graceMs[key.use]) : null
  return { ...shown, state: stateOf(key, keys, nowMs), retiresAt }
}

/** @throws Conflict for one that cannot come back */
function isPresent(kid: string, keys: readonly SigningKey[], nowMs: number): boolean {
  const key = keys.find((candidate) => candidate.kid === kid)
  const state = key && stateOf(key, keys, nowMs)
  if (key?.use === 'log' || state === 'retiring' || state === 'retired') {
    throw new Conflict(`the key ${kid} was replaced before or retired and does not come back: make a new one`)
  }
  return key !== undefined
}
