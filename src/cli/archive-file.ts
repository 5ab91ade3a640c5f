import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'

export interface ArchiveOutput {
  readonly out: Writable
  /** Called once all is written: only then it appears under its name. */
  keep(): Promise<void>
  discard(): Promise<void>
}

/** Its owner's alone: keys are in it. */
const MODE = 0o600

/**
 * A new file, or standard output for `-`. Written under another name first, so that what was stopped half-way is never taken
 * for a backup. A device or a pipe is written to as it is.
 * @throws WrongUse
 */
export async function openOutput(
  io: Pick<CliIo, 'stdout'>,
  file: string,
  { force = false }: { force?: boolean | undefined } = {},
): Promise<ArchiveOutput> {
  if (file === '-') {
    if (io.stdout.isTTY)
      throw new WrongUse('--out: an archive is not for a terminal; send it to a file or a pipe')
    return { out: io.stdout, keep: async () => {}, discard: async () => {} }
  }
  const found = await stat(file).catch(() => undefined)
  if (found && !found.isFile()) {
    return { out: await openFile(file, file, 'w'), keep: async () => {}, discard: async () => {} }
  }
  if (found && !force) throw exists(file)
  const part = `${file}.part-${randomBytes(4).toString('hex')}`
  const out = await openFile(part, file, 'wx')
  return {
    out,
    async keep() {
      if (!force && (await stat(file).catch(() => undefined))) throw exists(file)
      await rename(part, file).catch((error: unknown) => {
        throw new WrongUse(`--out: cannot write ${file} (${codeOf(error)})`, { cause: error })
      })
    },
    discard: () => rm(part, { force: true }),
  }
}

async function openFile(path: string, named: string, flags: string): Promise<Writable> {
  // Flushed to the disk before it gets its name.
  const out = createWriteStream(path, { flags, mode: MODE, flush: flags === 'wx' })
  try {
    await once(out, 'open')
  } catch (error) {
    throw new WrongUse(`--out: cannot write ${named} (${codeOf(error)})`, { cause: error })
  }
  return out
}

const exists = (file: string): WrongUse =>
  new WrongUse(`--out: ${file} exists: name another file, or give --force to replace it`)

/** A file, or standard input for `-`. @throws WrongUse */
export async function openInput(io: Pick<CliIo, 'stdin'>, file: string): Promise<Readable> {
  if (file === '-') {
    if (io.stdin.isTTY)
      throw new WrongUse('--from: an archive does not come from a terminal; send it by a pipe')
    return io.stdin
  }
  try {
    const handle = await open(file)
    if (!(await handle.stat()).isDirectory()) return handle.createReadStream()
    await handle.close()
  } catch (error) {
    throw new WrongUse(`--from: cannot read ${file} (${codeOf(error)})`, { cause: error })
  }
  throw new WrongUse(`--from: ${file} is a folder`)
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown error'
