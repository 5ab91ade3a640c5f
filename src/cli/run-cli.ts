import { Command, CommanderError } from 'commander'
import { describeError, HubError } from '../kernel/errors.js'
import { addAlertCommands } from './alert-commands.js'
import { addBackupCommands } from './backup-commands.js'
import { CliError, EXIT, type ExitCode } from './cli-errors.js'
import { type CliIo, processIo } from './cli-io.js'
import type { Cli, CliHooks } from './command.js'
import { addDemoCommand } from './demo-command.js'
import { addEmitCommand } from './emit-command.js'
import { addEventTypeCommands } from './event-type-commands.js'
import { addHubCommands } from './hub-commands.js'
import { addKeysCommands } from './keys-commands.js'
import { addLogCommands } from './log-commands.js'
import { addOperatorCommands } from './operator-commands.js'
import { addParkedCommands } from './parked-commands.js'
import { addReceiverCommands } from './receiver-commands.js'
import { addStreamCommands } from './stream-commands.js'
import { addSubjectCommands } from './subject-commands.js'
import { addTailCommand } from './tail-command.js'
import { addTimeToRevokeCommand } from './time-to-revoke-command.js'
import { addTransmitterCommands } from './transmitter-commands.js'

const AFTER_HELP = `
Commands talk to the hub at FIREBREAK_URL with the operator token in FIREBREAK_TOKEN; both default to
those of the hub that runs in the data folder (DATA_DIR). Secrets are read from a file, standard input
or the environment, never from a flag.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 cannot reach the hub, 4 an objective was missed.

Examples:
  $ firebreak serve
  $ firebreak demo
  $ firebreak transmitter add --name idp --issuer https://idp.example.com --audience https://hub.example.com --discover
  $ firebreak receiver add --name gateway-1 --reports applied
  $ firebreak time-to-revoke --from 24h --group-by point`

/**
 * Runs one command line.
 * @param argv as in `process.argv`: node, script, then the words
 * @returns the exit code; errors are already printed
 */
export async function runCli(
  argv: readonly string[],
  hooks: CliHooks,
  io: CliIo = processIo(),
): Promise<number> {
  const interrupt = new AbortController()
  const onInterrupt = () => {
    interrupt.abort(new Error('interrupted'))
    // A command that waits for standard input would never notice.
    io.stdin.destroy()
  }
  let listening = false
  const cli: Cli = {
    hooks,
    io,
    interruptible() {
      if (!listening) process.once('SIGINT', onInterrupt).once('SIGTERM', onInterrupt)
      listening = true
      return interrupt.signal
    },
  }
  try {
    await createProgram(cli).parseAsync([...argv])
    return EXIT.done
  } catch (error) {
    return interrupt.signal.aborted ? EXIT.interrupted : report(io, error)
  } finally {
    process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt)
  }
}

function createProgram(cli: Cli): Command {
  const program = new Command('firebreak')
    .description(
      'A shared-signals hub: SETs in, every subscribed enforcement point told, time to revoke out.',
    )
    .version(cli.hooks.version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => cli.io.out(text), writeErr: (text) => cli.io.err(text) })
    .showHelpAfterError('Run it with --help for its options.')
    .addHelpText('after', AFTER_HELP)
  addHubCommands(cli, program)
  addTransmitterCommands(cli, program)
  addReceiverCommands(cli, program)
  addStreamCommands(cli, program)
  addEmitCommand(cli, program)
  addEventTypeCommands(cli, program)
  addTailCommand(cli, program)
  addParkedCommands(cli, program)
  addAlertCommands(cli, program)
  addSubjectCommands(cli, program)
  addTimeToRevokeCommand(cli, program)
  addOperatorCommands(cli, program)
  addKeysCommands(cli, program)
  addBackupCommands(cli, program)
  addLogCommands(cli, program)
  addDemoCommand(cli, program)
  return program
}

function report(io: CliIo, error: unknown): ExitCode {
  if (error instanceof CommanderError) {
    // Help that was asked for; help for a group without its verb has exit code 1 and is wrong use.
    return error.exitCode === 0 ? EXIT.done : EXIT.wrongUse
  }
  const text = error instanceof HubError ? error.message : `unexpected error: ${describeError(error)}`
  io.err(`firebreak: ${text}\n`)
  return error instanceof CliError ? error.exitCode : EXIT.failed
}
