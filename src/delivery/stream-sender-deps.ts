import type { Clock } from '../kernel/clock.js'
import type { Lane } from '../secevent/event.js'
import type { Lease } from '../storage/leases.js'
import type { AttemptOutcome } from './attempt-outcome.js'
import type { Failing } from './endpoint-health.js'
import type { Claim } from './lane-intake.js'
import type { SendItem } from './open-delivery.js'
import type { DeliveryResult, LanePage } from './queue-repository.js'
import type { StreamTarget } from './stream-target-repository.js'
import type { WaitingRoom } from './waiting-room.js'

/** What the sender of one stream needs of its process. */
export interface StreamSenderDeps {
  readonly clock: Clock
  /** The stream's shard lease; undefined once it is lost. */
  lease(): Lease | undefined
  loadTarget(): Promise<StreamTarget | undefined>
  /** The stream cannot be read, in another way than before; it is tried again and again. */
  onUnreadable(error: unknown): void
  /** It can be read again. */
  onReadable(): void
  claim(page: LanePage & { readonly limit: number }): Promise<Claim & { version?: number }>
  /** The claims of a lane fail, in another way than before; they are tried again and again. */
  onUnclaimed(lane: Lane, error: unknown): void
  /** They succeed again. */
  onClaimable(lane: Lane): void
  nextTryMs(page: LanePage): Promise<number | undefined>
  attempt(item: SendItem, target: StreamTarget): Promise<AttemptOutcome>
  /** Resolves when written (or when the lease is gone and the row is another's). */
  writeResult(lane: Lane, result: DeliveryResult): Promise<void>
  /** Of this stream in memory. */
  readonly room: WaitingRoom
  /** Room in the shares of this lane; when there is none, `pump` is called once there may be. */
  mayStart(lane: Lane): boolean
  /** Calls `due` once the shared clock has reached `atMs`; only the earliest time is kept. */
  wakeAt(atMs: number): void
  readonly attemptTimeoutMs: number
  /** Requests in flight per lane. */
  readonly limits: Readonly<Record<Lane, number>>
  /** The endpoint rests, after another failure. */
  onFailing(failing: Failing, target: StreamTarget): void
  onRecovered(): void
  /** Of the stream nothing may be sent: what is known of its endpoint is old from here on. */
  onUnasked(): void
  /** Enables the stream that the hub paused for failing; resolves once that is durable. */
  enable(): Promise<void>
  /** How often the endpoint of such a stream is asked, ms. */
  readonly pausedProbeMs: number
}
