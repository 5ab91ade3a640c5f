import { ARCHIVE_FORMAT, MAGIC } from './archive-manifest.js'
import { ArchiveDamaged, ArchiveUnknown } from './backup-errors.js'

/** One byte for the kind, four for the length, then so many bytes. */
export type FrameKind = 'manifest' | 'table' | 'rows' | 'tableEnd' | 'end'

export interface Frame {
  readonly kind: FrameKind
  readonly payload: Buffer
}

const LETTERS: Readonly<Record<FrameKind, string>> = {
  manifest: 'M',
  table: 'T',
  rows: 'D',
  tableEnd: 'E',
  end: 'Z',
}
const KINDS = new Map(Object.entries(LETTERS).map(([kind, letter]) => [letter, kind as FrameKind]))
const HEAD_BYTES = 5
/** Rows come in 64 KiB; a manifest of a thousand tables fits too. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024
const MAX_LINE_BYTES = 64

export function encodeFrame({ kind, payload }: Frame): Buffer {
  const head = Buffer.alloc(HEAD_BYTES, LETTERS[kind], 'latin1')
  head.writeUInt32BE(payload.length, 1)
  return Buffer.concat([head, payload])
}

/** @throws ArchiveDamaged at anything that is no frame, and when the source ends within one */
export async function* decodeFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (rest.length >= HEAD_BYTES) {
      const kind = KINDS.get(rest.toString('latin1', 0, 1))
      const length = rest.readUInt32BE(1)
      if (!kind || length > MAX_FRAME_BYTES)
        throw new ArchiveDamaged('the archive is damaged: a part of it cannot be read')
      if (rest.length < HEAD_BYTES + length) break
      yield { kind, payload: rest.subarray(HEAD_BYTES, HEAD_BYTES + length) }
      rest = rest.subarray(HEAD_BYTES + length)
    }
  }
  if (rest.length > 0) throw new ArchiveDamaged('the archive is cut off')
}

export const firstLine = (): Buffer => Buffer.from(`${MAGIC}${ARCHIVE_FORMAT}\n`)

/**
 * Takes the first line off.
 * @throws ArchiveUnknown when it is another's, or of a newer format
 */
export async function* withoutFirstLine(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0)
  for await (const chunk of source) {
    if (!head) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\n')
    if (end < 0 && head.length < MAX_LINE_BYTES) continue
    checkLine(head.subarray(0, Math.max(end, 0)))
    const rest = head.subarray(end + 1)
    head = undefined
    if (rest.length > 0) yield rest
  }
  if (head) checkLine(head)
}

function checkLine(line: Buffer): void {
  const format = new RegExp(`^${MAGIC}(\\d{1,9})$`).exec(line.toString('latin1'))?.[1]
  if (format === undefined) throw new ArchiveUnknown('this is not an archive of firebreak backup')
  if (Number(format) > ARCHIVE_FORMAT) {
    throw new ArchiveUnknown(
      `the archive has format ${format}, and this firebreak knows up to ${ARCHIVE_FORMAT}: restore it with the release that made it, or a newer one`,
    )
  }
}
