import { createPeriodicWorker, type PeriodicWorker } from '../kernel/periodic-worker.js'
import type { Subject } from '../secevent/event.js'
import { createPerson } from '../secevent/person.js'
import { erasureRepository } from './erasure-repository.js'
import { type ErasureKeys, erasureContext } from './erasure-service.js'
import { createErasureSteps, type ErasureStepOptions } from './erasure-steps.js'

export interface ErasureWorkerOptions extends ErasureStepOptions {
  readonly keys: ErasureStepOptions['keys'] & ErasureKeys
  /** One process does this. */
  isLeader(): boolean
}

export interface ErasureWorker extends PeriodicWorker {
  /** Works all erasures off as far as they get. */
  workOnce(): Promise<void>
}

const EVERY_MS = 5_000

/**
 * Works erasures off, a page per transaction: each step goes on where its cursor says, in whatever process. First the
 * log is drained, so that no event of before the request comes into the tables behind the scan.
 */
export function createErasureWorker(options: ErasureWorkerOptions): ErasureWorker {
  const { db, logger } = options
  const steps = createErasureSteps(options)
  let stopping = false

  async function workOff(id: string): Promise<void> {
    for (;;) {
      const erasure = await erasureRepository.find(db, id)
      if (stopping || !erasure || erasure.step === 'done' || !options.isLeader()) return
      const sealed = erasure.sealedIdentifiers
      const identifiers = sealed ? options.keys.open(sealed, erasureContext(id)).toString() : '[]'
      const person = createPerson(JSON.parse(identifiers) as Subject[])
      if (!(await steps[erasure.step](erasure, person))) return
    }
  }

  async function workOnce(): Promise<void> {
    if (!options.isLeader()) return
    for (const id of await erasureRepository.open(db)) await workOff(id)
  }

  const worker = createPeriodicWorker({
    name: 'erasures',
    everyMs: EVERY_MS,
    round: workOnce,
    failed: { event: 'erasure.failed', says: 'an erasure could not go on' },
    logger,
  })
  return {
    ...worker,
    workOnce,
    async stop() {
      stopping = true
      await worker.stop()
    },
  }
}
