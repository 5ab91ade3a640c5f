import type { Command } from 'commander'
import { type ApiClient, type ApiList, createApiClient } from './api-client.js'
import type { BackupHooks } from './backup-hooks.js'
import type { CliIo } from './cli-io.js'
import { type CliConfig, findHub } from './connection.js'
import { readSecret } from './input.js'

/** What the process entry supplies: the commands that need more than a running hub. */
export interface CliHooks extends BackupHooks {
  /** Migrates and runs the hub; resolves when it has drained after a signal. Handles its own signals. */
  serve(): Promise<void>
  migrate(): Promise<{ applied: string[] }>
  /** Effective settings, secrets masked, ready to print. */
  printConfig(): string | Promise<string>
  /** The hub's OpenAPI document, with the effective issuer. */
  openApi(): object
  /** A new admin token, made in the database; `file` holds it too, when the data folder takes one. */
  resetOperator(): Promise<{ token: string; name: string; file?: string | undefined }>
  /** @throws WrongUse when a setting of it is wrong */
  clientConfig(): CliConfig
  /** Event type URIs that `emit` may name by their last part. */
  readonly eventTypes: readonly string[]
  /** What a transmitter may be forgiven, as the API spells it. */
  readonly tolerances: readonly string[]
  /** The process environment: the demo's hub gets the few names it needs from here. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
}

export interface Cli {
  readonly hooks: CliHooks
  readonly io: CliIo
  /** Aborted by Ctrl-C. Called by commands that are to end quietly; `serve` handles its own signals. */
  interruptible(): AbortSignal
}

/** What the action of a command that talks to the hub is given. */
export interface ApiCall {
  readonly api: ApiClient
  /** The same hub, and Ctrl-C does not stop it: for what a command must take back. */
  readonly cleanUp: ApiClient
  readonly io: CliIo
  readonly signal: AbortSignal
  readonly json: boolean
  /** The API's body with `--json`, else the text. */
  print(body: unknown, text: () => string): void
}

type ApiAction<O> = (call: ApiCall, options: O, args: string[]) => Promise<void>

interface ConnectionOptions {
  json?: boolean
  url?: string
  tokenFile?: string
}

/** Gives a command the options of every call to the hub, and its action. */
export function withApi<O extends object>(cli: Cli, command: Command, action: ApiAction<O>): Command {
  return command
    .option('--json', "print the API's body")
    .option('--url <url>', 'the hub (default: FIREBREAK_URL, else the local hub)')
    .option('--token-file <file>', 'file with the token, - for standard input (default: FIREBREAK_TOKEN)')
    .action(async () => {
      const { json = false, url, tokenFile } = command.opts<ConnectionOptions>()
      const signal = cli.interruptible()
      const token = tokenFile && (await readSecret(cli.io, tokenFile, '--token-file'))
      const connection = await findHub(cli.hooks.clientConfig(), { url, token })
      const api = createApiClient(connection, signal)
      const cleanUp = createApiClient(connection, new AbortController().signal)
      const print = (body: unknown, text: () => string) =>
        cli.io.out(json ? `${JSON.stringify(body ?? {}, null, 2)}\n` : text())
      await action({ api, cleanUp, io: cli.io, signal, json, print }, command.opts<O>(), command.args)
    })
}

/** Shown under the options of `--help`. */
export function examples(command: Command, lines: readonly string[]): Command {
  return command.addHelpText(
    'after',
    `\nExamples:\n${lines.map((line) => `  $ firebreak ${line}`).join('\n')}`,
  )
}

/** The line that tells how to see the rest of a list. */
export function moreHint(list: ApiList<unknown>): string {
  return list.next ? `more: --cursor ${list.next}\n` : ''
}

export interface PageOptions {
  limit?: number
  cursor?: string
}

/** Resolves after `ms`, rejects at once when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const abort = () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal.addEventListener('abort', abort, { once: true })
  })
}
