/**
 * How a receiver proves itself at the token endpoint, by the names of the IANA registry (RFC 7591 §2).
 * Each is held to its own method; `client_secret_basic` is the default.
 */
export const CLIENT_AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'] as const

export type ClientAuthMethod = (typeof CLIENT_AUTH_METHODS)[number]

/** What a registration or a change may set. */
export interface ReceiverSettings {
  name: string
  authMethod: ClientAuthMethod
  /** Public keys, for `private_key_jwt` alone. */
  jwks: { keys: object[] } | null
  defaultSubjects: 'ALL' | 'NONE'
  /** Stages beyond `received` that the receiver declared to report. */
  reports: string[]
  profile: string | null
  compatibility: Record<string, unknown>
  signingAlg: 'RS256' | 'ES256'
  /** Null: all event types. */
  grantEventTypes: string[] | null
  /** Transmitters, null: all sources. Set by id or name, kept by id. */
  grantSources: string[] | null
}

/** A registered receiver: who may hold streams, and which events may reach it. */
export interface Receiver extends ReceiverSettings {
  id: string
  clientId: string
  audience: string
  enabled: boolean
  createdAt: Date
  updatedAt: Date
}

/** A long-lived token that an operator issued. */
export interface ReceiverToken {
  id: string
  scopes: string[]
  createdAt: Date
  expiresAt: Date | null
}
