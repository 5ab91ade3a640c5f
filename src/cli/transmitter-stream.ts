import { type Command, Option } from 'commander'
import { type ApiClient, apiPath } from './api-client.js'
import { CommandFailed, WrongUse } from './cli-errors.js'
import { type CliIo, withProgress } from './cli-io.js'
import { type ApiCall, type Cli, examples, pause, withApi } from './command.js'
import { resolveType } from './emit-command.js'
import { readSecret } from './input.js'
import { renderFields } from './table.js'
import { collect, parseDuration } from './time-option.js'

/** A transmitter as the API shows it, with the stream that the hub holds there. */
export interface SubscribedTransmitter {
  readonly id: string
  readonly name: string
  readonly stream?: {
    readonly state: string
    readonly stream_id: string | null
    readonly status: string | null
    readonly events_missing: readonly string[]
    readonly verified_at: string | null
    readonly last_error: string | null
  }
}

export interface StreamOptions {
  delivery?: 'push' | 'poll'
  event?: string[]
  clientId?: string
  secretFile?: string
  tokenEndpoint?: string
  authorizationServer?: string
  tokenAuthMethod?: string
  scope?: string
}

const POLL_MS = 300

/** Options with which the hub makes a stream at the transmitter itself. */
export function addStreamOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--delivery <method>',
        'make a stream there, which delivers by push or poll (default with --client-id or --secret-file: poll)',
      ).choices(['push', 'poll']),
    )
    .option(
      '--event <type>',
      'an event type to ask for; repeat for more (default: all that the hub knows)',
      collect,
    )
    .option('--client-id <id>', 'client credentials: the client; without it the secret is a bearer token')
    .option(
      '--secret-file <file>',
      'client secret or token, - for standard input (default: FIREBREAK_UPSTREAM_SECRET)',
    )
    .option('--token-endpoint <url>', 'where the client gets its tokens')
    .option('--authorization-server <url>', 'or who tells where (default: the issuer)')
    .addOption(
      new Option('--token-auth-method <method>', 'how the client authenticates there').choices([
        'client_secret_basic',
        'client_secret_post',
      ]),
    )
    .option('--scope <scope>', "scopes of its tokens (default: 'ssf.read ssf.manage')")
}

/** Whether the hub makes a stream there: whoever gives credentials for one wants it. */
export const wantsStream = (options: StreamOptions): boolean =>
  [options.delivery, options.clientId, options.secretFile].some((value) => value !== undefined)

/**
 * The member `delivery`; undefined when no stream is wanted. Poll unless told otherwise: transmitters exist that push by
 * the clock, Keycloak each 30 s, and each of those seconds is one more to revoke.
 * @throws WrongUse
 */
export async function deliveryBody(cli: Cli, io: CliIo, options: StreamOptions): Promise<object | undefined> {
  const ofClient = {
    '--token-endpoint': options.tokenEndpoint,
    '--authorization-server': options.authorizationServer,
    '--token-auth-method': options.tokenAuthMethod,
    '--scope': options.scope,
  }
  if (!wantsStream(options)) {
    const given = givenOf({ '--event': options.event, ...ofClient })
    if (given !== '') throw new WrongUse(`${given}: say --delivery push or poll too`)
    return undefined
  }
  // Without a client the secret is a bearer token, sent to the transmitter itself.
  const given = givenOf(ofClient)
  if (given !== '' && options.clientId === undefined) throw new WrongUse(`${given}: say --client-id too`)
  const secret = options.secretFile
    ? await readSecret(io, options.secretFile, '--secret-file')
    : cli.hooks.clientConfig().firebreakUpstreamSecret
  if (!secret)
    throw new WrongUse(
      'a stream at the transmitter needs a secret: give --secret-file or FIREBREAK_UPSTREAM_SECRET',
    )
  return {
    method: options.delivery ?? 'poll',
    ...(options.event && {
      events_requested: options.event.map((type) => resolveType(type, cli.hooks.eventTypes, '--event')),
    }),
    credentials: options.clientId === undefined ? { token: secret } : clientBody(options, secret),
  }
}

const givenOf = (options: Readonly<Record<string, unknown>>): string =>
  Object.keys(options)
    .filter((name) => options[name] !== undefined)
    .join(' and ')

function clientBody(options: StreamOptions, secret: string): object {
  return {
    client_id: options.clientId,
    client_secret: secret,
    ...(options.tokenEndpoint && { token_endpoint: options.tokenEndpoint }),
    ...(options.authorizationServer && { authorization_server: options.authorizationServer }),
    ...(options.tokenAuthMethod && { token_endpoint_auth_method: options.tokenAuthMethod }),
    ...(options.scope && { scope: options.scope }),
  }
}

/**
 * Waits until a verification event has come through the stream, and prints the transmitter as it is then.
 * @throws CommandFailed when it has not come in time, with the last error
 */
export async function awaitVerified(call: ApiCall, id: string, timeoutMs: number): Promise<void> {
  const transmitter = await withProgress(
    call.io,
    'waiting for the stream to be verified',
    poll(call.api, { id, timeoutMs, signal: call.signal }),
  )
  const { stream } = transmitter
  call.print(transmitter, () =>
    renderFields({ id, name: transmitter.name, ...stream, events_missing: stream?.events_missing }),
  )
  if (!stream?.verified_at) {
    const why = stream?.last_error ? `: ${stream.last_error}` : ''
    throw new CommandFailed(`the stream is not verified yet (${stream?.state ?? 'no stream'})${why}`)
  }
}

async function poll(
  api: ApiClient,
  { id, timeoutMs, signal }: { id: string; timeoutMs: number; signal: AbortSignal },
): Promise<SubscribedTransmitter> {
  const startedAt = performance.now()
  for (;;) {
    const transmitter = await api.get<SubscribedTransmitter>(apiPath('transmitters', id))
    const { stream } = transmitter
    const isOver = performance.now() - startedAt >= timeoutMs
    if (!stream || stream.verified_at !== null || stream.state === 'stopped' || isOver) return transmitter
    await pause(POLL_MS, signal)
  }
}

export const waitOption = (): Option =>
  new Option('--timeout <duration>', 'how long to wait for the verification')
    .argParser(parseDuration)
    .default(30_000, '30s')

/** SSF 1.0 §8.1.4: asks the transmitter for a verification event and waits for it. */
export function addTransmitterVerify(cli: Cli, group: Command): void {
  const command = group
    .command('verify')
    .description('ask for a verification on the stream that the hub holds there, and wait for it')
    .argument('<id>')
    .addOption(waitOption())
  examples(command, ['transmitter verify 5f0c…', 'transmitter verify 5f0c… --timeout 1m --json'])
  withApi<{ timeout: number }>(cli, command, async (call, { timeout }, [id = '']) => {
    await call.api.post(`${apiPath('transmitters', id)}/verify`, {})
    await awaitVerified(call, id, timeout)
  })
}
