import { readFileSync } from 'node:fs'
import { StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker, type PeriodicWorker } from '../kernel/periodic-worker.js'
import { type KeyMaterial, readKeyMaterial } from './key-material.js'
import type { RotationService } from './rotation-service.js'

/** Of a poll: hints between processes may get lost. */
const EVERY_MS = 10_000

/**
 * Reads the private keys of SIGNING_KEY_FILES.
 * @throws StartupError in one line that names the setting
 */
export function readKeyFiles(files: readonly string[]): KeyMaterial[] {
  const materials = files.map((file) => {
    let pem: string
    try {
      pem = readFileSync(file, 'utf8')
    } catch (cause) {
      throw new StartupError(`SIGNING_KEY_FILES: cannot read ${file}; name a readable PEM file`, { cause })
    }
    return readKeyMaterial(pem, file)
  })
  const double = materials.find(({ alg }, index) => materials.findIndex((other) => other.alg === alg) < index)
  if (double) {
    throw new StartupError(`SIGNING_KEY_FILES: two files hold keys for ${double.alg}; name one of each kind`)
  }
  return materials
}

/**
 * Keeps this process's keys up to date: reads what others changed, retires what is due, takes up replaced files.
 * `ring` when a hint arrives.
 */
export function createKeyWatch(options: {
  keys: { refresh(): Promise<boolean> }
  rotation: Pick<RotationService, 'keepUp' | 'bringIn'>
  files: readonly string[]
  leadMs: number
  logger: Logger
}): PeriodicWorker {
  const { keys, rotation, files, logger } = options
  return createPeriodicWorker({
    name: 'keys',
    // Several readings in the time that a new key is only published.
    everyMs: Math.min(EVERY_MS, options.leadMs / 4),
    async round() {
      if (await keys.refresh()) logger.info('keys.changed', {})
      await rotation.keepUp()
      for (const material of readKeyFiles(files)) await rotation.bringIn(material)
    },
    failed: { event: 'keys.failed', says: 'the signing keys could not be kept up to date' },
    logger,
  })
}
