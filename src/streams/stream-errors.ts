import { HubError } from '../kernel/errors.js'

/** Also for another receiver's stream: the two must not be told apart (SSF 1.0 §8). */
export class StreamNotFound extends HubError {
  readonly code = 'ERR_STREAM_NOT_FOUND'
  readonly status = 404

  constructor() {
    super('You have no stream with this stream_id. List your streams, or create one.')
  }
}

/** The stream is there and goes by the system's authorities, as all do unless an operator says otherwise. */
export class StreamTlsNotFound extends HubError {
  readonly code = 'ERR_STREAM_TLS_NOT_FOUND'
  readonly status = 404

  constructor() {
    super('This stream has no TLS setting: the system’s authorities hold, and no certificate is shown.')
  }
}

/**
 * 403 and not 409: SSF 1.0 §8.1.1.1 keeps 409 for transmitters that allow one stream only, and a receiver that
 * gets it goes on to use "the" existing stream. 429 would tell it to try again, which cannot help.
 */
export class StreamLimitReached extends HubError {
  readonly code = 'ERR_STREAM_LIMIT'
  readonly status = 403

  constructor(limit: number) {
    super(`You may hold ${limit} streams and hold that many. Delete one, or ask the operator for more.`)
  }
}

export class SubjectLimitReached extends HubError {
  readonly code = 'ERR_SUBJECT_LIMIT'
  readonly status = 429
  override readonly failureClass = 'retry' as const

  /** @param what there are too many of */
  constructor(limit: number, what = 'subjects') {
    super(`This stream holds as many ${what} as it may (${limit}). Undo some before you send more.`, {
      retryAfterS: 60,
    })
  }
}

export class VerificationTooSoon extends HubError {
  readonly code = 'ERR_VERIFICATION_TOO_SOON'
  readonly status = 429
  override readonly failureClass = 'retry' as const

  constructor(intervalS: number, retryAfterS: number) {
    super(
      `Ask for a verification at most every ${intervalS} s on one stream (min_verification_interval). Wait as Retry-After says.`,
      { retryAfterS },
    )
  }
}

/** An operator stopped the stream; only an operator starts it again. */
export class StatusHeld extends HubError {
  readonly code = 'ERR_STATUS_HELD'
  readonly status = 403

  constructor() {
    super('An operator of the hub stopped this stream. Ask them to enable it.')
  }
}
