import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { StartupError } from '../kernel/errors.js'
import { createSetSigner, type SetAlgorithm, type SetSigner } from '../secevent/sign.js'
import type { KeyRing } from './key-ring.js'
import { activeKey, type SigningKey } from './signing-key.js'
import { signingKeyContext } from './signing-key-repository.js'

/** The signing keys as they were read at one moment. Which of them signs depends on the time alone. */
export interface KeySnapshot {
  /** @throws StartupError when there is none */
  setSigner(alg: SetAlgorithm, nowMs: number): SetSigner
  readonly setJwks: { keys: object[] }
  /** @throws StartupError when there is none */
  logSigningKey(nowMs: number): { kid: string; privateKey: KeyObject }
  readonly logPublicKeys: ReadonlyMap<string, KeyObject>
  readonly logJwks: { keys: object[] }
  /** Equal for equal keys: says whether anything changed. */
  readonly version: string
}

/** @param keys without the retired ones; what is not used is never unsealed */
export function takeSnapshot(keys: readonly SigningKey[], ring: KeyRing): KeySnapshot {
  const of = (use: SigningKey['use']) => keys.filter((key) => key.use === use)
  const logKeys = of('log')
  const signers = new Map<string, SetSigner>()
  const logPrivate = new Map<string, { kid: string; privateKey: KeyObject }>()

  const active = (use: SigningKey['use'], alg: SetAlgorithm, nowMs: number): SigningKey => {
    const key = activeKey(keys, { use, alg }, nowMs)
    if (!key) throw noActiveKey(use, alg)
    return key
  }

  return {
    setSigner(alg, nowMs) {
      const key = active('set', alg, nowMs)
      return memo(signers, key.kid, () =>
        createSetSigner({ kid: key.kid, alg, privateKey: privateKeyOf(key, ring) }),
      )
    },
    setJwks: { keys: of('set').map((key) => key.publicJwk) },
    logSigningKey(nowMs) {
      const key = active('log', 'ES256', nowMs)
      return memo(logPrivate, key.kid, () => ({ kid: key.kid, privateKey: privateKeyOf(key, ring) }))
    },
    logPublicKeys: new Map(
      logKeys.map((key) => [key.kid, createPublicKey({ key: key.publicJwk, format: 'jwk' })]),
    ),
    logJwks: { keys: logKeys.map((key) => key.publicJwk) },
    version: keys.map((key) => `${key.kid} ${key.activeFrom.getTime()}`).join(),
  }
}

function memo<V>(values: Map<string, V>, key: string, make: () => V): V {
  const known = values.get(key)
  if (known !== undefined) return known
  const made = make()
  values.set(key, made)
  return made
}

function privateKeyOf(key: SigningKey, ring: KeyRing): KeyObject {
  const der = ring.open(key.sealedPrivate, signingKeyContext(key.kid))
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

function noActiveKey(use: string, alg: string): StartupError {
  return new StartupError(
    `there is no active ${use} key for ${alg}: restore table signing_keys from a backup, or restart the hub`,
  )
}
