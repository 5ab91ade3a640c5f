import { HubRefused, HubUnreachable } from './cli-errors.js'
import type { Connection } from './connection.js'

export type Query = Record<string, string | number | undefined>

/** The hub's `/v1`. Answers are the parsed body, `undefined` when there is none. */
export interface ApiClient {
  readonly url: string
  get<T>(path: string, query?: Query): Promise<T>
  post<T>(path: string, body?: unknown): Promise<T>
  patch<T>(path: string, body: unknown): Promise<T>
  put<T>(path: string, body: unknown): Promise<T>
  delete(path: string): Promise<void>
}

export interface ApiList<T> {
  items: T[]
  next?: string | null
}

const DEADLINE_MS = 30_000
const MAX_ANSWER_BYTES = 32 * 1024 * 1024

/**
 * Throws HubUnreachable when no answer comes, HubRefused for every answer that is not 2xx.
 * @param signal ends what is under way (Ctrl-C)
 */
export function createApiClient(connection: Connection, signal: AbortSignal): ApiClient {
  async function call(method: string, target: string, body?: unknown): Promise<unknown> {
    let response: Response
    let text: string
    try {
      response = await fetch(connection.url + target, {
        method,
        headers: {
          accept: 'application/json',
          ...(connection.token && { authorization: `Bearer ${connection.token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        // A redirect would carry the token somewhere nobody named.
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
      })
      text = await readBody(response)
    } catch (error) {
      signal.throwIfAborted()
      throw unreachable(connection.url, error)
    }
    if (!response.ok) throw refused(connection, response, text)
    return text === '' ? undefined : parseAnswer(connection, response, text)
  }
  return {
    url: connection.url,
    get: async <T>(path: string, query: Query = {}) => (await call('GET', path + queryString(query))) as T,
    post: async <T>(path: string, body?: unknown) => (await call('POST', path, body)) as T,
    patch: async <T>(path: string, body: unknown) => (await call('PATCH', path, body)) as T,
    put: async <T>(path: string, body: unknown) => (await call('PUT', path, body)) as T,
    delete: async (path) => void (await call('DELETE', path)),
  }
}

/** A path of `/v1`; every part is encoded, so an id can never reach another route. */
export function apiPath(...parts: string[]): string {
  return `/v1/${parts.map(encodeURIComponent).join('/')}`
}

function queryString(query: Query): string {
  const params = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) params.set(name, String(value))
  }
  return params.size === 0 ? '' : `?${params}`
}

async function readBody(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += (chunk as Uint8Array).byteLength
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is larger than 32 MiB')
    chunks.push(chunk as Uint8Array)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function unreachable(url: string, error: unknown): HubUnreachable {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = (cause as NodeJS.ErrnoException).code
  const timedOut = (error as Error).name === 'TimeoutError'
  const reason = timedOut ? `no answer in ${DEADLINE_MS / 1000} s` : (code ?? (cause as Error).message)
  return new HubUnreachable(
    `cannot reach the hub at ${url} (${reason}). Start one with "firebreak serve", or set FIREBREAK_URL to the hub's address.`,
    { cause: error },
  )
}

function refused(connection: Connection, response: Response, text: string): HubRefused {
  const { code, message } = parseError(text)
  const answer = { httpStatus: response.status, apiCode: code }
  if (response.status === 401) {
    const used = connection.tokenFrom ? `the token from ${connection.tokenFrom}` : 'a call without a token'
    return new HubRefused(
      `the hub at ${connection.url} refused ${used}. Set FIREBREAK_TOKEN to an operator's token; with access to the database, "firebreak operator reset" makes a new one (with the embedded PostgreSQL stop the hub first).`,
      answer,
    )
  }
  const wait = response.headers.get('retry-after')
  const what =
    message ?? `the hub at ${connection.url} answered ${response.status} ${response.statusText}`.trim()
  return new HubRefused(
    `${what}${code ? ` (${code})` : ''}${wait ? `. Try again in ${wait} s.` : ''}`,
    answer,
  )
}

function parseError(text: string): { code?: string; message?: string } {
  try {
    const { code, message } = JSON.parse(text) as { code?: unknown; message?: unknown }
    return {
      ...(typeof code === 'string' && { code }),
      ...(typeof message === 'string' && { message }),
    }
  } catch {
    return {}
  }
}

function parseAnswer(connection: Connection, response: Response, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new HubRefused(
      `${connection.url} answered ${response.status} with something other than JSON: is FIREBREAK_URL the hub's address?`,
      { httpStatus: response.status },
    )
  }
}
