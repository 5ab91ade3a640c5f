import type { HubBase } from './hub-base.js'
import { readIssuerMetadata } from './ingest/discovery.js'
import type { SetIngest } from './ingest/set-ingest.js'
import type { SetObserver } from './ingest/set-observer.js'
import type { EventTypes } from './secevent/event-types.js'
import type { LeaseSet } from './storage/leases.js'
import { createPolledSets } from './upstream/polled-set.js'
import { createStreamEvents } from './upstream/stream-events.js'
import type { KeeperOptions } from './upstream/stream-keeper.js'
import { createUpstreamService } from './upstream/upstream-service.js'
import {
  createUpstreamWorker,
  exposeUpstreamStreams,
  type UpstreamWorker,
} from './upstream/upstream-worker.js'

const UPSTREAM_CHANNEL = 'upstream_streams_changed'

export interface UpstreamWork {
  readonly leases: LeaseSet
  readonly ingest: SetIngest
  readonly observe: SetObserver
  readonly transmitters: KeeperOptions['transmitters']
}

/** The hub as a Receiver: its own streams at upstream transmitters. The worker runs under the role `poll-upstream`. */
export function openUpstream(base: HubBase, eventTypes: EventTypes) {
  const { issuer, pools, keys, clock, logger, metrics, outgoing, notifier } = base
  const db = pools.api
  let worker: UpstreamWorker | undefined
  const wake = (): void => {
    worker?.ring()
    notifier.notify(UPSTREAM_CHANNEL)
  }
  notifier.on(UPSTREAM_CHANNEL, () => worker?.ring())
  exposeUpstreamStreams(metrics, db)
  return {
    streams: createUpstreamService({ db, keys, outgoing, eventTypes, wake }),
    aboutStream: createStreamEvents({ db, logger, metrics, wake }),
    createWorker({ leases, ingest, observe, transmitters }: UpstreamWork): UpstreamWorker {
      const take = createPolledSets({ ingest, observe, findTransmitter: transmitters.find, clock })
      worker = createUpstreamWorker({
        db,
        keys,
        outgoing,
        clock,
        logger,
        metrics,
        leases,
        hubIssuer: issuer,
        take,
        transmitters,
        readMetadata: (metadataUrl, named) => readIssuerMetadata(outgoing, metadataUrl, named),
      })
      return worker
    },
  }
}
