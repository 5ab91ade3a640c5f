import { HubError, type HubErrorOptions } from '../kernel/errors.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'

/** An upstream transmitter, or its authorization server, did not do what was asked. It is asked again, ever more seldom. */
export class UpstreamFailed extends HubError {
  readonly code = 'ERR_UPSTREAM_FAILED'
  readonly status = 502
  override readonly failureClass = 'retry' as const
  /** The HTTP status that it answered; undefined when it gave no usable answer. */
  readonly answered: number | undefined

  constructor(message: string, options: HubErrorOptions & { answered?: number } = {}) {
    super(message, options)
    this.answered = options.answered
  }
}

/** What it answered must not be believed (SSF 1.0 §8.1.1). Nothing more is asked of it until a person has looked. */
export class UpstreamMistrusted extends HubError {
  readonly code = 'ERR_UPSTREAM_MISTRUSTED'
  readonly status = 502
  override readonly failureClass = 'park' as const
}

/** There was an answer, and it was more than the hub reads. */
export function isTooLarge(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof OutgoingFailed && cause.reason === 'too_large'
}
