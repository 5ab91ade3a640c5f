import { once } from 'node:events'
import { Readable } from 'node:stream'
import type pg from 'pg'
import type { Database } from './database.js'

/** What COPY needs of a connection beyond what the types of pg tell. */
type CopyConnection = pg.Connection & {
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
  sendCopyFail(reason: string): void
}

interface Connections {
  acquireConnection(): Promise<{ query(statement: pg.Submittable): unknown }>
  releaseConnection(connection: unknown): Promise<void>
}

/** Rows come one by one, some of them of 50 bytes: they are handed on in pieces of this size. */
const PIECE_BYTES = 64 * 1024

/**
 * `copy … to stdout` on a connection of that pool or transaction, which must be opened with `copies`. The server waits while
 * nobody reads. Destroyed before its end, it breaks the connection: there is no other way to stop what is being sent.
 * @returns the text that COPY sends, and once that has ended how many rows it was
 */
export async function copyOut(db: Database, sql: string): Promise<{ data: Readable; rows(): number }> {
  const connections = db.client as unknown as Connections
  const connection = await connections.acquireConnection()
  let wire: CopyConnection | undefined
  let rows = 0
  let piece = Buffer.allocUnsafe(PIECE_BYTES)
  let filled = 0
  const data = new Readable({
    highWaterMark: 4 * PIECE_BYTES,
    read: () => void wire?.stream.resume(),
    destroy(error, done) {
      if (!ended) wire?.stream.destroy()
      done(error)
    },
  })
  let ended = false

  function flush(): void {
    if (filled === 0) return
    const full = piece.subarray(0, filled)
    piece = Buffer.allocUnsafe(PIECE_BYTES)
    filled = 0
    if (!data.push(full)) wire?.stream.pause()
  }

  /** Copied: the parser writes over its own buffer. */
  function add(chunk: Buffer): void {
    for (let from = 0; from < chunk.length; ) {
      const count = chunk.copy(piece, filled, from)
      from += count
      filled += count
      if (filled === PIECE_BYTES) flush()
    }
  }

  function end(error?: Error): void {
    if (ended) return
    ended = true
    flush()
    wire?.stream.resume()
    void connections.releaseConnection(connection)
    if (error) data.destroy(error)
    else data.push(null)
  }

  connection.query({
    submit(submitted) {
      wire = submitted as CopyConnection
      submitted.query(sql)
    },
    handleCopyData: ({ chunk }: { chunk: Buffer }) => add(chunk),
    handleCommandComplete({ text }: { text: string }) {
      rows = rowsOf(text)
    },
    handleReadyForQuery: () => end(),
    handleError: (error: Error) => end(error),
  } as pg.Submittable)
  return { data, rows: () => rows }
}

/**
 * `copy … from stdin` on a connection of that pool or transaction, which must be opened with `copies`. A source that fails
 * ends the statement at the server too, and its error is thrown.
 * @returns how many rows the server has taken
 */
export async function copyIn(db: Database, sql: string, source: AsyncIterable<Buffer>): Promise<number> {
  const connections = db.client as unknown as Connections
  const connection = await connections.acquireConnection()
  const over = new AbortController()
  let failure: Error | undefined
  let rows = 0

  async function pump(wire: CopyConnection): Promise<void> {
    try {
      for await (const chunk of source) {
        if (over.signal.aborted) return
        wire.sendCopyFromChunk(chunk)
        if (wire.stream.writableNeedDrain) await once(wire.stream, 'drain', { signal: over.signal })
      }
      if (!over.signal.aborted) wire.endCopyFrom()
    } catch (error) {
      if (over.signal.aborted) return
      failure = error as Error
      wire.sendCopyFail('the source of the rows failed')
    }
  }

  try {
    await new Promise<void>((resolve, reject) => {
      connection.query({
        submit: (submitted) => submitted.query(sql),
        handleCopyInResponse: (wire: CopyConnection) => void pump(wire),
        handleCommandComplete({ text }: { text: string }) {
          rows = rowsOf(text)
        },
        handleReadyForQuery: () => resolve(),
        handleError(error: Error) {
          over.abort()
          reject(failure ?? error)
        },
      } as pg.Submittable)
    })
  } finally {
    await connections.releaseConnection(connection)
  }
  return rows
}

/** `COPY 12` */
const rowsOf = (tag: string): number => Number(tag.split(' ')[1])
