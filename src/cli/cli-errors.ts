import { HubError } from '../kernel/errors.js'

/** What the shell sees. 130 is Ctrl-C. */
export const EXIT = {
  done: 0,
  failed: 1,
  wrongUse: 2,
  unreachable: 3,
  objectiveMissed: 4,
  interrupted: 130,
} as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** An expected end of a command other than done; printed as one line, and the exit code follows from the class. */
export abstract class CliError extends HubError {
  readonly status = 500
  abstract readonly exitCode: ExitCode
}

/** The command line, an input file or a setting is wrong; the message names it. */
export class WrongUse extends CliError {
  readonly code = 'ERR_WRONG_USE'
  readonly exitCode = EXIT.wrongUse
}

export class HubUnreachable extends CliError {
  readonly code = 'ERR_HUB_UNREACHABLE'
  readonly exitCode = EXIT.unreachable
}

/** The hub answered, and said no. `apiCode` and `httpStatus` are the hub's. */
export class HubRefused extends CliError {
  readonly code = 'ERR_HUB_REFUSED'
  readonly exitCode = EXIT.failed
  readonly httpStatus: number
  readonly apiCode: string | undefined

  constructor(message: string, answer: { httpStatus: number; apiCode?: string | undefined }) {
    super(message)
    this.httpStatus = answer.httpStatus
    this.apiCode = answer.apiCode
  }
}

/** The hub did what was asked, and the outcome is not the one the command is for. */
export class CommandFailed extends CliError {
  readonly code = 'ERR_COMMAND_FAILED'
  readonly exitCode = EXIT.failed
}

export class ObjectiveMissed extends CliError {
  readonly code = 'ERR_OBJECTIVE_MISSED'
  readonly exitCode = EXIT.objectiveMissed
}
