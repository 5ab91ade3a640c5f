import type { SetTolerances } from '../secevent/verify-set.js'

/** An upstream source of SETs and what is believed of it. */
export interface Transmitter {
  readonly id: string
  readonly name: string
  /** Compared with `iss` as text. */
  readonly issuer: string
  /** Exactly one of `jwksUri` and `jwks` is set; with `discover`, the URI came from that metadata document. */
  readonly jwksUri?: string
  readonly jwks?: JwkSetDocument
  /** URL of the SSF metadata document that `jwksUri` was read from. */
  readonly discover?: string
  /** A SET must name one of these in `aud`. */
  readonly audience: readonly string[]
  readonly algorithms: readonly string[]
  /** SHA-256 of the whole Authorization header; absent: the signature alone authenticates. */
  readonly authorizationHash?: Buffer
  readonly tolerances: SetTolerances
  /** Events per second that keep their lane; see source-budget.ts. */
  readonly budgetPerS: number
  /** Event types of this source that are urgent whatever they do to access; those that tighten it always are. */
  readonly urgentTypes: readonly string[]
  readonly enabled: boolean
  /** Our receiver that is this source, when hubs stand in a ring. */
  readonly receiverId?: string
  /** Rises with each change. */
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

export type JwkSetDocument = { keys: readonly Record<string, unknown>[] }

/** What an operator decides; the rest is given by the hub. */
export type TransmitterSettings = Omit<Transmitter, 'id' | 'version' | 'createdAt' | 'updatedAt'>
