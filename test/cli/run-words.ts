import { PassThrough, Readable } from 'node:stream'
import type { CliHooks } from '../../src/cli/command.js'
import { runCli } from '../../src/cli/run-cli.js'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type'

export const EVENT_TYPES = [
  `${CAEP}/session-revoked`,
  'https://schemas.openid.net/secevent/risc/event-type/account-disabled',
]

/** Hooks that fail when a test did not mean to call them. */
export function failingHooks(): CliHooks {
  const unexpected = (name: string) => () => {
    throw new Error(`unexpected call: ${name}`)
  }
  return {
    serve: unexpected('serve'),
    migrate: unexpected('migrate'),
    printConfig: unexpected('printConfig'),
    openApi: unexpected('openApi'),
    resetOperator: unexpected('resetOperator'),
    backup: unexpected('backup'),
    restore: unexpected('restore'),
    rewindLog: unexpected('rewindLog'),
    clientConfig: () => ({ dataDir: '/nonexistent' }),
    eventTypes: EVENT_TYPES,
    tolerances: ['allow_sub', 'session_id_all'],
    environment: {},
    version: '0.0.0-test',
  }
}

export interface Outcome {
  code: number
  out: string
  err: string
}

/** Runs one command line inside this process. */
export async function runWords(
  words: readonly string[],
  options: { hooks?: Partial<CliHooks>; stdin?: string } = {},
): Promise<Outcome> {
  const outcome = { code: -1, out: '', err: '' }
  const io = {
    stdin: Readable.from(options.stdin === undefined ? [] : [options.stdin]),
    stdout: new PassThrough(),
    out(text: string) {
      outcome.out += text
    },
    err(text: string) {
      outcome.err += text
    },
    colour: false,
    progress: false,
  }
  outcome.code = await runCli(['node', 'firebreak', ...words], { ...failingHooks(), ...options.hooks }, io)
  return outcome
}

/** Hooks that talk to this hub with a token. */
export function hooksFor(url: string): Partial<CliHooks> {
  return {
    clientConfig: () => ({ firebreakUrl: url, firebreakToken: 'operator-token', dataDir: '/nonexistent' }),
  }
}
