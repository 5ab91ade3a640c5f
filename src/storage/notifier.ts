import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Worker } from '../kernel/worker.js'

const MAX_BACKOFF_MS = 5_000
/** Finds a connection that is dead without a word. */
const PROBE_MS = 10_000
/** PostgreSQL takes payloads of less than 8000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900

/** Hints between processes. Nothing may be correct only because of one: they get lost while the connection is away. */
export interface Notifier extends Worker {
  /** To be called after commit. Equal hints that wait together go once. */
  notify(channel: string, payload?: string): void
  /**
   * The listener also runs, with an empty payload, after the connection came back: something may have been missed.
   * @returns stops listening
   */
  on(channel: string, listener: (payload: string) => void): () => void
}

/** LISTEN and NOTIFY on one direct connection (a pooler in transaction mode would swallow them). */
export function createNotifier(options: { url: string; logger: Logger }): Notifier {
  const { logger } = options
  const listeners = new Map<string, Set<(payload: string) => void>>()
  const pending = new Map<string, { channel: string; payload: string }>()
  let client: pg.Client | undefined
  let flushing: Promise<void> | undefined
  let probe: NodeJS.Timeout | undefined
  let connecting: Promise<void> | undefined
  let listening: Promise<unknown> = Promise.resolve()
  let stopped = false

  async function connect(): Promise<void> {
    const next = new pg.Client({
      connectionString: options.url,
      application_name: 'firebreak notifier',
      connectionTimeoutMillis: 5_000,
      query_timeout: 5_000,
      keepAlive: true,
    })
    next.on('error', (error) => logger.debug('notifier.lost', { reason: error.message }))
    next.on('notification', ({ channel, payload }) => call(channel, payload ?? ''))
    try {
      await next.connect()
      for (const channel of listeners.keys()) await next.query(`listen ${next.escapeIdentifier(channel)}`)
    } catch (error) {
      await next.end().catch(() => {})
      throw error
    }
    next.once('end', () => {
      if (client === next) client = undefined
      if (!stopped) reconnect(100)
    })
    client = next
  }

  function reconnect(waitMs: number): void {
    connecting = delay(waitMs)
      .then(() => (stopped ? undefined : connect()))
      .then(() => {
        if (stopped) return
        logger.info('notifier.reconnected')
        for (const channel of listeners.keys()) call(channel, '')
        flush()
      })
      .catch((error: unknown) => {
        logger.debug('notifier.retrying', { reason: describeError(error) })
        reconnect(Math.min(waitMs * 2, MAX_BACKOFF_MS))
      })
  }

  function call(channel: string, payload: string): void {
    for (const listener of listeners.get(channel) ?? []) listener(payload)
  }

  /** One statement at a time carries all that came meanwhile. */
  function flush(): void {
    if (flushing || !client || pending.size === 0) return
    const batch = [...pending.values()]
    pending.clear()
    const values = [batch.map((hint) => hint.channel), batch.map((hint) => hint.payload)]
    flushing = client
      .query(
        'select pg_notify(channel, payload) from unnest($1::text[], $2::text[]) as hint(channel, payload)',
        values,
      )
      .catch((error: unknown) => logger.debug('notifier.not_sent', { reason: describeError(error) }))
      .then(() => {
        flushing = undefined
        flush()
      })
  }

  /** A query that times out leaves its connection unusable, so it is closed and opened anew. */
  function check(): void {
    const probed = client
    probed?.query('select 1').catch(() => void probed.end().catch(() => {}))
  }

  return {
    name: 'notifier',
    notify(channel, payload = '') {
      const fits = Buffer.byteLength(payload) <= MAX_PAYLOAD_BYTES ? payload : ''
      pending.set(`${channel} ${fits}`, { channel, payload: fits })
      // The microtask lets the hints of one turn of the loop go together.
      queueMicrotask(flush)
    },
    on(channel, listener) {
      const all = listeners.get(channel) ?? new Set()
      if (!listeners.has(channel)) {
        listeners.set(channel, all)
        // One after the other: pg gives up its own queue.
        listening = listening
          .then(() => client?.query(`listen ${client.escapeIdentifier(channel)}`))
          .catch(() => {})
      }
      all.add(listener)
      return () => void all.delete(listener)
    },
    async start() {
      await connect()
      probe = setInterval(check, PROBE_MS)
      flush()
    },
    async stop() {
      stopped = true
      clearInterval(probe)
      flush()
      await flushing
      await client?.end()
      await connecting
    },
    health: () =>
      client
        ? { ok: true }
        : { ok: true, reason: 'hints between processes are away; work goes on by polling' },
  }
}
