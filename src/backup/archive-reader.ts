import { createHash } from 'node:crypto'
import { pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { decodeFrames, type Frame, type FrameKind, withoutFirstLine } from './archive-frames.js'
import {
  type ArchiveEnd,
  type ArchiveTable,
  type Manifest,
  parseEnd,
  parseManifest,
  parseTable,
  type TableEnd,
} from './archive-manifest.js'
import { ArchiveDamaged } from './backup-errors.js'

const CHUNK_BYTES = 64 * 1024

/** An archive as it is read: first the manifest, then each table in turn, then the end. */
export interface ArchiveReader {
  readonly manifest: Manifest
  /** The rows of the next table. They must be read to their end, which throws when they are not what was written. */
  nextTable(): Promise<{ table: ArchiveTable; rows: AsyncIterable<Buffer>; end(): TableEnd } | undefined>
  /** After the last table: everything was there, and nothing follows. */
  finish(): Promise<ArchiveEnd>
}

/** @throws ArchiveUnknown, ArchiveDamaged, and whatever stops the input */
export async function openArchive(input: Readable): Promise<ArchiveReader> {
  const frames = decodeFrames(unpack(input))
  const whole = createHash('sha256')
  const total = { rows: 0, bytes: 0 }

  async function next(...expected: FrameKind[]): Promise<Frame> {
    const { value, done } = (await frames.next()) as { value: Frame; done: boolean }
    if (done) throw new ArchiveDamaged('the archive is cut off')
    if (!expected.includes(value.kind))
      throw new ArchiveDamaged('the archive is damaged: its parts are out of order')
    if (value.kind !== 'rows' && value.kind !== 'end') whole.update(value.payload)
    return value
  }

  const manifest = parseManifest((await next('manifest')).payload)
  let last: Frame | undefined

  return {
    manifest,
    async nextTable() {
      const frame = await next('table', 'end')
      if (frame.kind === 'end') {
        last = frame
        return undefined
      }
      const table = parseTable(frame.payload)
      let found: TableEnd | undefined
      async function* rows(): AsyncGenerator<Buffer> {
        const hash = createHash('sha256')
        let bytes = 0
        for (;;) {
          const part = await next('rows', 'tableEnd')
          if (part.kind === 'rows') {
            hash.update(part.payload)
            bytes += part.payload.length
            yield part.payload
            continue
          }
          found = parseEnd(part.payload)
          if (found.bytes !== bytes || found.sha256 !== hash.digest('hex')) {
            throw new ArchiveDamaged(`the archive is damaged: ${table.name} is not as it was written`)
          }
          total.rows += found.rows
          total.bytes += bytes
          return
        }
      }
      return { table, rows: rows(), end: () => found as TableEnd }
    },
    async finish() {
      const end = parseEnd((last ?? (await next('end'))).payload)
      if (end.rows !== total.rows || end.bytes !== total.bytes || end.sha256 !== whole.digest('hex')) {
        throw new ArchiveDamaged('the archive is damaged: its parts do not fit together')
      }
      // Reading on to the end has the checksum of the compression checked too.
      if (!(await frames.next()).done)
        throw new ArchiveDamaged('the archive is damaged: something follows its end')
      return end
    },
  }
}

async function* unpack(input: Readable): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES })
  // What fails on the way in comes out of gunzip too.
  pipeline(input, withoutFirstLine, gunzip, () => {})
  try {
    yield* gunzip as AsyncIterable<Buffer>
  } catch (error) {
    throw explain(error)
  }
}

function explain(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'Z_BUF_ERROR') return new ArchiveDamaged('the archive is cut off', { cause: error })
  if (code?.startsWith('Z_')) {
    return new ArchiveDamaged('the archive is damaged: it does not unpack', { cause: error })
  }
  return error
}
