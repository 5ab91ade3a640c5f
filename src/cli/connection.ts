import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { WrongUse } from './cli-errors.js'

/** The part of the Config that the command line needs. */
export interface CliConfig {
  /** FIREBREAK_URL */
  readonly firebreakUrl?: string | undefined
  /** FIREBREAK_TOKEN */
  readonly firebreakToken?: string | undefined
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

/** `--url`, else FIREBREAK_URL, else the hub of this data folder. Its admin token goes to that hub only. */
export async function findHub(
  config: CliConfig,
  flags: { url?: string | undefined; token?: string | undefined } = {},
): Promise<Connection> {
  const local = await readLocalHub(config.dataDir)
  const chosen = flags.url ?? config.firebreakUrl
  const url = chosen ? checkUrl(chosen, flags.url ? '--url' : 'FIREBREAK_URL') : (local?.url ?? DEFAULT_URL)
  if (flags.token) return { url, token: flags.token, tokenFrom: '--token-file' }
  if (config.firebreakToken) return { url, token: config.firebreakToken, tokenFrom: 'FIREBREAK_TOKEN' }
  if (local?.token && local.url === url) {
    return { url, token: local.token, tokenFrom: join(config.dataDir, 'admin-token') }
  }
  return { url }
}

function checkUrl(text: string, name: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.search || url.hash) {
    throw new WrongUse(`${name} must be the hub's http or https address, such as https://hub.example.com`)
  }
  if (url.protocol === 'http:' && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    throw new WrongUse(
      `${name} must be https: a token is sent there, and ${url.hostname} is not this machine`,
    )
  }
  return url.href.replace(/\/$/, '')
}

async function readLocalHub(dataDir: string): Promise<{ url: string; token?: string } | undefined> {
  try {
    const { url } = JSON.parse(await readFile(join(dataDir, 'hub.json'), 'utf8')) as { url?: unknown }
    if (typeof url !== 'string') return undefined
    const token = await readFile(join(dataDir, 'admin-token'), 'utf8').catch(() => '')
    return token.trim()
      ? { url: url.replace(/\/$/, ''), token: token.trim() }
      : { url: url.replace(/\/$/, '') }
  } catch {
    // No hub has run here, or it belongs to another user: the other settings decide.
    return undefined
  }
}
