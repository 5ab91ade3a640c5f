import type { Logger } from '../kernel/logger.js'
import { present } from '../kernel/present.js'
import type { Lane } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import { createClosedRows } from './closed-rows.js'
import type { Claim } from './lane-intake.js'
import { type EventContent, type OpenDelivery, type SendItem, toSendItem } from './open-delivery.js'
import { findOtherCauses } from './other-causes.js'
import { type ClaimedDelivery, type LanePage, queueRepository } from './queue-repository.js'

export interface PushClaimsOptions {
  /** A pool per lane, so that no lane waits for another's statements. */
  readonly pools: Readonly<Record<Lane, Database>>
  readonly logger: Logger
  /** Undefined: what is stored does not open. */
  openContent(
    row: Pick<ClaimedDelivery, 'delivery' | 'day' | 'sealedContent'>,
  ): Promise<EventContent | undefined>
}

export type PushClaims = (
  streamId: string,
  page: LanePage & { readonly limit: number },
) => Promise<Claim & { readonly version?: number }>

/** What a stream may send next of one lane, opened, with its version as the claim saw it. */
export function createPushClaims({ pools, logger, openContent }: PushClaimsOptions): PushClaims {
  /** The oldest; when there are more, a few of each cause beside them. */
  async function claimRows(streamId: string, page: LanePage & { readonly limit: number }) {
    const { lane } = page
    const db = pools[lane]
    const oldest = page.limit > 0 ? await queueRepository.claimForPush(db, streamId, page) : []
    if (oldest.length < page.limit) return oldest
    const inHand = [...page.inHand, ...oldest.map(({ delivery }) => delivery.eventId)]
    return [...oldest, ...(await findOtherCauses(db, { streamId, lane, method: 'push', inHand }))]
  }

  return async (streamId, page) => {
    const rows = await claimRows(streamId, page)
    const due: SendItem[] = []
    const stale: OpenDelivery[] = []
    const ungranted: OpenDelivery[] = []
    const unreadable: OpenDelivery[] = []
    const closed = createClosedRows()
    for (const row of rows) {
      if (!row.granted) ungranted.push(row.delivery)
      else if (row.superseded) stale.push(row.delivery)
      else {
        await openContent(row).then(
          (content) => {
            if (content) {
              const bytes = row.sealedContent?.length ?? 0
              due.push(toSendItem(row.delivery, row.delivery, { content, bytes }))
            } else {
              unreadable.push(row.delivery)
              logger.error('set.unreadable', { stream_id: streamId, event_ids: [row.delivery.eventId] })
            }
          },
          (error: unknown) => closed.note(row.delivery, error),
        )
      }
    }
    return {
      due: due.filter((item) => !closed.isBehind(item)),
      stale,
      ungranted,
      unreadable,
      ...present({ version: rows[0]?.version, fault: closed.fault() }),
    }
  }
}
