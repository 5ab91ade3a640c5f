import { createOutstandingReader } from './delivery/outstanding-read-model.js'
import type { HubBase } from './hub-base.js'
import type { Worker } from './kernel/worker.js'
import { createKeyWatch } from './keys/key-watch.js'
import { createRotationService, type RotationService } from './keys/rotation-service.js'

const KEYS_CHANNEL = 'keys_changed'
const DAY_MS = 86_400_000

export interface HubKeys {
  readonly rotation: RotationService
  /** Not started yet. */
  readonly watch: Worker
}

/** Changes of the signing keys, and what lets this process notice those of others. */
export function openKeyRotation(base: HubBase): HubKeys {
  const { config, pools, keys, audit, notifier, logger } = base
  const leadMs = config.signingKeyLeadS * 1000
  const rotation = createRotationService({
    db: pools.api,
    ring: keys.ring,
    audit,
    leadMs,
    graceMs: {
      set: config.signingKeyGraceS * 1000,
      // An older record is not believed anyway.
      log: config.dedupeWindowDays * DAY_MS,
    },
    rotateAfterMs: config.signingKeyRotateDays && config.signingKeyRotateDays * DAY_MS,
    fromFiles: base.keyFiles.map(({ alg }) => alg),
    isOutstanding: createOutstandingReader(pools.api, base.clock),
    async changed() {
      await keys.refresh()
      notifier.notify(KEYS_CHANNEL)
    },
  })
  const watch = createKeyWatch({ keys, rotation, files: config.signingKeyFiles, leadMs, logger })
  notifier.on(KEYS_CHANNEL, watch.ring)
  return { rotation, watch }
}
