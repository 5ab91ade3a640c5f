import { createHmac, type KeyObject } from 'node:crypto'
import type { Clock } from '../kernel/clock.js'
import { Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createJtiCodec, type JtiCodec } from '../secevent/delivery-jti.js'
import type { SetAlgorithm, SetSigner } from '../secevent/sign.js'
import type { Database } from '../storage/database.js'
import { deriveKey } from './aead.js'
import type { AuditTrail } from './audit-trail.js'
import { type ContentCipher, createContentCiphers, ensureDataKey, NO_DAY } from './data-keys.js'
import type { KeyMaterial } from './key-material.js'
import { type KeyRing, type MasterKeys, openKeyRing } from './key-ring.js'
import { takeSnapshot } from './key-snapshot.js'
import { ensureSigningKeys, readSigningKeys } from './signing-key-repository.js'

/** What an HMAC is for; each has a key of its own. */
export type HmacPurpose = 'subject' | 'event-key'

export interface KeyService {
  /** The key that signs now. One that was read ahead takes over at its time, without another read. */
  setSigner(alg: SetAlgorithm): SetSigner
  /**
   * Public keys for receivers (RFC 7517): published ahead, active, and retiring.
   * @throws Unavailable when they were read so long ago that another process may sign with a newer one
   */
  setJwks(): { keys: object[] }
  /** How long receivers may keep `setJwks`, in seconds. */
  readonly jwksMaxAgeS: number
  logSigningKey(): { kid: string; privateKey: KeyObject }
  logPublicKeys(): ReadonlyMap<string, KeyObject>
  logJwks(): { keys: object[] }
  /** What seals; for those that rotate it. */
  readonly ring: KeyRing
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
  /** Reads the keys again: another process may have rotated them. @returns whether anything changed */
  refresh(): Promise<boolean>
  /** False: whoever reads the database reads the keys. */
  readonly protectedByMasterKey: boolean
  /** What readiness shows: that, or that another master key is at work. */
  readonly warning: string | undefined
}

export interface KeyServiceOptions {
  readonly db: Database
  /** 32 bytes; without it the ring's secret lies in the database. */
  readonly masterKey?: Buffer
  /** The master key before, while the ring may still be sealed under it. */
  readonly previousMasterKey?: Buffer
  /** Told when the ring was sealed under another master key. */
  readonly audit?: AuditTrail
  /** The database's time decides which key signs. */
  readonly clock: Clock
  /** How long a key is published before it signs; the same for all processes. */
  readonly leadMs: number
  /** Keys from files, for the first start in place of generated ones. */
  readonly given?: readonly KeyMaterial[]
  readonly logger: Logger
}

const UNPROTECTED = 'FIREBREAK_MASTER_KEY is not set: whoever can read the database can read the signing keys'

/** A minute suffices to spare the hub, and lets a receiver see a new key long before its first use. */
const JWKS_MAX_AGE_S = 60

/**
 * Opens the key ring and makes the first keys: RS256 (2048 bits) and ES256 for SETs, ES256 for the log.
 * @throws StartupError when the master key is not the one that sealed this database
 */
export async function createKeyService(options: KeyServiceOptions): Promise<KeyService> {
  const { db, clock, leadMs, logger } = options
  const masters: MasterKeys = {
    ...(options.masterKey && { current: options.masterKey }),
    ...(options.previousMasterKey && { previous: options.previousMasterKey }),
    async resealed(trx, keyIds) {
      logger.info('keys.resealed', { ring_keys: keyIds })
      const detail = { ring_keys: keyIds }
      await options.audit?.record(trx, { actor: 'hub', action: 'key_ring.resealed', detail })
    },
  }
  const ring = await openKeyRing(db, masters, clock)
  const created = await ensureSigningKeys(db, ring, options.given)
  if (created.length > 0) logger.info('keys.created', { kids: created })
  const secret = await ensureDataKey(db, ring, { purpose: 'hmac', day: NO_DAY })
  const hmacKeys: Record<HmacPurpose, Buffer> = {
    subject: deriveKey(secret, 'hmac subject'),
    'event-key': deriveKey(secret, 'hmac event-key'),
  }
  const jtiKey = deriveKey(secret, 'hmac jti')
  const jwksMaxAgeS = Math.min(JWKS_MAX_AGE_S, Math.floor(leadMs / 2_000))
  let readAtMs = clock.monotonicMs()
  let keys = takeSnapshot(await readSigningKeys(db), ring)

  async function refresh(): Promise<boolean> {
    const startedMs = clock.monotonicMs()
    // First: the signing keys may be sealed by a key of the ring that is new.
    await ring.refresh()
    const next = takeSnapshot(await readSigningKeys(db), ring)
    // Of two readings under way at once the one begun later counts, whichever ends first.
    if (startedMs < readAtMs) return false
    readAtMs = startedMs
    const changed = next.version !== keys.version
    if (changed) keys = next
    return changed
  }

  return {
    setSigner: (alg) => keys.setSigner(alg, clock.now()),
    setJwks() {
      // A key made just after this reading signs elsewhere once leadMs is over; until then receivers must have it.
      if (clock.monotonicMs() - readAtMs > leadMs - jwksMaxAgeS * 1000) {
        throw new Unavailable('The keys could not be read for too long; try again.')
      }
      return keys.setJwks
    },
    jwksMaxAgeS,
    logSigningKey: () => keys.logSigningKey(clock.now()),
    logPublicKeys: () => keys.logPublicKeys,
    logJwks: () => keys.logJwks,
    ring,
    seal: ring.seal,
    open: ring.open,
    hmac: (purpose, data) => createHmac('sha256', hmacKeys[purpose]).update(data).digest(),
    jtis: createJtiCodec((data) => createHmac('sha256', jtiKey).update(data).digest()),
    contentCipher: createContentCiphers(db, ring),
    refresh,
    protectedByMasterKey: ring.protectedByMasterKey,
    get warning() {
      const [unreadable] = ring.unreadable()
      if (unreadable) {
        return `The ring key ${unreadable} was sealed by another master key: restart this process with the FIREBREAK_MASTER_KEY of the others.`
      }
      return ring.protectedByMasterKey ? undefined : UNPROTECTED
    },
  }
}
