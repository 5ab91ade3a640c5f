import { createHmac, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createJtiCodec, type JtiCodec } from '../secevent/delivery-jti.js'
import { createSetSigner, type SetAlgorithm, type SetSigner } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { deriveKey } from './aead.js'
import { type ContentCipher, createContentCiphers, ensureDataKey, NO_DAY } from './data-keys.js'
import { type KeyRing, openKeyRing } from './key-ring.js'
import {
  ensureSigningKeys,
  readSigningKeys,
  type SigningKeyRow,
  signingKeyContext,
} from './signing-key-repository.js'

/** What an HMAC is for; each has a key of its own. */
export type HmacPurpose = 'subject' | 'event-key'

export interface KeyService {
  /** The active signing key, cached: it changes only at `refresh`. */
  setSigner(alg: SetAlgorithm): SetSigner
  /** Public keys for receivers (RFC 7517): published ahead, active, and retiring. */
  setJwks(): { keys: object[] }
  logSigningKey(): { kid: string; privateKey: KeyObject }
  logPublicKeys(): ReadonlyMap<string, KeyObject>
  logJwks(): { keys: object[] }
  /** For secrets at rest. `context` names the place, so a sealed value cannot be moved to another. */
  seal(plain: string | Buffer, context: string): Buffer
  /** @throws SealBroken */
  open(sealed: Buffer, context: string): Buffer
  /** 32 bytes; the same for the life of the database, whatever keys are rotated. */
  hmac(purpose: HmacPurpose, data: string): Buffer
  /** Names deliveries; the same for the life of the database. */
  readonly jtis: JtiCodec
  /** The cipher of a day (`YYYY-MM-DD`), made at its first use: erasing its key erases the day's identifiers. */
  contentCipher(day: string): Promise<ContentCipher>
  /** Reads the keys again: another process may have rotated them. */
  refresh(): Promise<void>
  /** False: whoever reads the database reads the keys; readiness shows `warning`. */
  readonly protectedByMasterKey: boolean
  readonly warning: string | undefined
}

interface LoadedKeys {
  signers: ReadonlyMap<SetAlgorithm, SetSigner>
  setJwks: { keys: object[] }
  logKey: { kid: string; privateKey: KeyObject }
  logPublic: ReadonlyMap<string, KeyObject>
  logJwks: { keys: object[] }
}

/**
 * Opens the key ring and makes the first keys: RS256 (2048 bits) and ES256 for SETs, ES256 for the log.
 * @param options.masterKey 32 bytes; without it the ring's secret lies in the database
 * @throws StartupError when the master key is not the one that sealed this database
 */
export async function createKeyService(options: {
  db: Database
  masterKey?: Buffer
  logger: Logger
}): Promise<KeyService> {
  const { db, logger } = options
  const ring = await openKeyRing(db, options.masterKey)
  const created = await ensureSigningKeys(db, ring)
  if (created.length > 0) logger.info('keys.created', { kids: created })
  const secret = await ensureDataKey(db, ring, { purpose: 'hmac', day: NO_DAY })
  const hmacKeys: Record<HmacPurpose, Buffer> = {
    subject: deriveKey(secret, 'hmac subject'),
    'event-key': deriveKey(secret, 'hmac event-key'),
  }
  const jtiKey = deriveKey(secret, 'hmac jti')
  let keys = loadKeys(await readSigningKeys(db), ring)
  return {
    setSigner(alg) {
      const signer = keys.signers.get(alg)
      if (!signer) throw noActiveKey('set', alg)
      return signer
    },
    setJwks: () => keys.setJwks,
    logSigningKey: () => keys.logKey,
    logPublicKeys: () => keys.logPublic,
    logJwks: () => keys.logJwks,
    seal: ring.seal,
    open: ring.open,
    hmac: (purpose, data) => createHmac('sha256', hmacKeys[purpose]).update(data).digest(),
    jtis: createJtiCodec((data) => createHmac('sha256', jtiKey).update(data).digest()),
    contentCipher: createContentCiphers(db, ring),
    async refresh() {
      keys = loadKeys(await readSigningKeys(db), ring)
    },
    protectedByMasterKey: ring.protectedByMasterKey,
    warning: ring.protectedByMasterKey
      ? undefined
      : 'FIREBREAK_MASTER_KEY is not set: whoever can read the database can read the signing keys',
  }
}

function loadKeys(rows: SigningKeyRow[], ring: KeyRing): LoadedKeys {
  const signers = new Map<SetAlgorithm, SetSigner>()
  for (const alg of ['RS256', 'ES256'] as const) {
    const row = rows.find(
      (candidate) => candidate.use === 'set' && candidate.alg === alg && candidate.state === 'active',
    )
    if (row) signers.set(alg, createSetSigner({ kid: row.kid, alg, privateKey: privateKeyOf(row, ring) }))
  }
  const logRows = rows.filter((row) => row.use === 'log')
  const active = logRows.find((row) => row.state === 'active')
  if (!active) throw noActiveKey('log', 'ES256')
  return {
    signers,
    setJwks: { keys: rows.filter((row) => row.use === 'set').map((row) => row.public_jwk) },
    logKey: { kid: active.kid, privateKey: privateKeyOf(active, ring) },
    logPublic: new Map(
      logRows.map((row) => [row.kid, createPublicKey({ key: row.public_jwk, format: 'jwk' })]),
    ),
    logJwks: { keys: logRows.map((row) => row.public_jwk) },
  }
}

function privateKeyOf(row: SigningKeyRow, ring: KeyRing): KeyObject {
  const der = ring.open(row.private_wrapped, signingKeyContext(row.kid))
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

function noActiveKey(use: string, alg: string): StartupError {
  return new StartupError(
    `there is no active ${use} key for ${alg}: restore table signing_keys from a backup, or restart the hub`,
  )
}
