import type { JsonWebKey } from 'node:crypto'
import type { SetAlgorithm } from '../secevent/sign.js'

/** Who reads what it signs: receivers, or the readers of the event log. */
export type KeyUse = 'set' | 'log'

/** `next` is published and signs nothing yet; `retiring` signs no longer and is published still; `retired` is gone. */
export type KeyState = 'next' | 'active' | 'retiring' | 'retired'

export interface SigningKey {
  readonly kid: string
  readonly use: KeyUse
  readonly alg: SetAlgorithm
  readonly publicJwk: JsonWebKey
  /** Sealed under the ring; empty once retired. */
  readonly sealedPrivate: Buffer
  readonly origin: 'generated' | 'file'
  readonly createdAt: Date
  /** From then on every process signs with it, by the database's clock. */
  readonly activeFrom: Date
  readonly retiredAt: Date | null
}

type Slot = Pick<SigningKey, 'use' | 'alg'>

/**
 * The key that signs at this moment: of those due, the one that came into force last. The clock of a process may be a
 * little behind the one that made the first key, so where none is due it is the first that will be.
 */
export function activeKey<K extends SigningKey>(
  keys: readonly K[],
  { use, alg }: Slot,
  nowMs: number,
): K | undefined {
  const own = keys.filter((key) => key.use === use && key.alg === alg && !key.retiredAt)
  own.sort((a, b) => a.activeFrom.getTime() - b.activeFrom.getTime())
  return own.findLast((key) => key.activeFrom.getTime() <= nowMs) ?? own[0]
}

export function stateOf(key: SigningKey, keys: readonly SigningKey[], nowMs: number): KeyState {
  if (key.retiredAt) return 'retired'
  if (activeKey(keys, key, nowMs)?.kid === key.kid) return 'active'
  return key.activeFrom.getTime() > nowMs ? 'next' : 'retiring'
}

/**
 * When the key signs no more: once the one after it comes into force. Undefined while none was made. One that was retired
 * while it waited replaces nothing.
 */
export function signsUntil(key: SigningKey, keys: readonly SigningKey[]): Date | undefined {
  const later = keys.filter(
    (other) =>
      other.use === key.use &&
      other.alg === key.alg &&
      other.activeFrom > key.activeFrom &&
      !(other.retiredAt && other.retiredAt < other.activeFrom),
  )
  later.sort((a, b) => a.activeFrom.getTime() - b.activeFrom.getTime())
  return later[0]?.activeFrom
}
