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

/** What only a registration may set. */
export interface NewReceiver extends ReceiverSettings {
  /** As the configured issuer knows the client; absent: the hub names it and gives it a secret. */
  clientId?: string
}

/** A registered receiver: who may hold streams, and which events may reach it. */
export interface Receiver extends ReceiverSettings {
  id: string
  clientId: string
  audience: string
  enabled: boolean
  /** Whose client it is; null: it gets its tokens here. */
  tokenIssuer: string | null
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
