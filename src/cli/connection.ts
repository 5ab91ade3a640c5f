import { constants } from 'node:fs'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { WrongUse } from './cli-errors.js'

/** The part of the Config that the command line needs. */
export interface CliConfig {
  /** FIREBREAK_URL */
  readonly firebreakUrl?: string | undefined
  /** FIREBREAK_TOKEN */
  readonly firebreakToken?: string | undefined
  /** FIREBREAK_UPSTREAM_SECRET */
  readonly firebreakUpstreamSecret?: string | undefined
  /** DATA_DIR: a hub running here leaves `hub.json` and `admin-token` in it. */
  readonly dataDir: string
}

export interface Connection {
  readonly url: string
  readonly token?: string
  /** Where the token came from, for the message when it is refused. */
  readonly tokenFrom?: string
}

const DEFAULT_URL = 'http://127.0.0.1:8080'

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/

/**
 * `--url`, else FIREBREAK_URL, else the hub of this data folder. Its admin token goes to that hub only, and a token of
 * the caller's never to another machine that only a file of the current folder names.
 * @throws WrongUse when an address, or what the data folder says, cannot be trusted with a token
 */
export async function findHub(
  config: CliConfig,
  flags: { url?: string | undefined; token?: string | undefined } = {},
): Promise<Connection> {
  const chosen = flags.url ?? config.firebreakUrl
  const own = chosen ? checkUrl(chosen, flags.url ? '--url' : 'FIREBREAK_URL') : undefined
  // With an address of the caller's, a bad hub.json is only one that gives no admin token.
  const local = await readLocalHub(config.dataDir).catch((error: unknown) => {
    if (own) return undefined
    throw error
  })
  const url = own ?? local?.url ?? DEFAULT_URL
  const explicit = explicitToken(config, flags)
  if (explicit) {
    if (!own && !LOOPBACK.test(new URL(url).hostname)) {
      throw new WrongUse(
        `${join(config.dataDir, 'hub.json')} names ${url}, which is not this machine: to send the token of ${explicit.tokenFrom} there, say so with --url or FIREBREAK_URL`,
      )
    }
    return { url, ...explicit }
  }
  if (local?.url !== url) return { url }
  const token = await readFile(join(config.dataDir, 'admin-token'), 'utf8').catch(() => '')
  if (!token.trim()) return { url }
  return { url, token: token.trim(), tokenFrom: join(config.dataDir, 'admin-token') }
}

function explicitToken(config: CliConfig, flags: { token?: string | undefined }) {
  if (flags.token) return { token: flags.token, tokenFrom: '--token-file' }
  return config.firebreakToken ? { token: config.firebreakToken, tokenFrom: 'FIREBREAK_TOKEN' } : undefined
}

function checkUrl(text: string, name: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.search || url.hash) {
    throw new WrongUse(`${name} must be the hub's http or https address, such as https://hub.example.com`)
  }
  if (url.protocol === 'http:' && !LOOPBACK.test(url.hostname)) {
    throw new WrongUse(
      `${name} must be https: a token is sent there, and ${url.hostname} is not this machine`,
    )
  }
  return url.href.replace(/\/$/, '')
}

/** Undefined: no hub has run here, or it belongs to a user whose files we may not read; the other settings decide. */
async function readLocalHub(dataDir: string): Promise<{ url: string } | undefined> {
  const file = join(dataDir, 'hub.json')
  let text: string
  let handle: FileHandle | undefined
  try {
    // Not blocking: a pipe of that name would keep the command waiting.
    handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    await requireOwn(handle, file)
    text = await handle.readFile('utf8')
  } catch (error) {
    if (error instanceof WrongUse) throw error
    return undefined
  } finally {
    await handle?.close()
  }
  const url = urlOf(text)
  return url === undefined ? undefined : { url: checkUrl(url, `the url in ${file}`) }
}

/** Whoever can write this file decides where a token goes. Windows has no such owners and modes. */
async function requireOwn(handle: FileHandle, file: string): Promise<void> {
  const stat = await handle.stat()
  const uid = process.getuid?.()
  if (uid === undefined) return
  if (stat.isFile() && (stat.uid === uid || stat.uid === 0) && (stat.mode & 0o022) === 0) return
  throw new WrongUse(
    `${file} is not used: it must be a file of your own (or root's) that nobody else can write; name the hub with --url or FIREBREAK_URL`,
  )
}

function urlOf(text: string): string | undefined {
  try {
    const { url } = JSON.parse(text) as { url?: unknown }
    // A hub on every address of its machine is on loopback too.
    return typeof url === 'string'
      ? url.replace('://0.0.0.0', '://127.0.0.1').replace('://[::]', '://[::1]')
      : undefined
  } catch {
    // Half-written by a hub that was killed, or none of ours.
    return undefined
  }
}
