import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { describeError, StartupError } from '../kernel/errors.js'
import type { Tell } from './tell.js'

/** Standard output, or a stream that stands for it. */
export interface Output {
  write(text: string, done: (error?: Error | null) => void): unknown
}

/**
 * Writes each notice as one line of JSON: its `id`, then the members of the body. The file is opened by its name for
 * each line, so that a rotated one is left at once.
 * @param file `-` is `output`
 */
export function createAlertLog(file: string, output: Output): Tell {
  // One after the other: a file system that hangs holds one thread and not all of them.
  let last: Promise<unknown> = Promise.resolve()
  // Of the last line perhaps a part was written: the next one must not be appended to that.
  let isTorn = false
  return ({ id, body }, signal) => {
    const line = `${JSON.stringify({ id, ...(JSON.parse(body) as object) })}\n`
    const written = last.then(async () => {
      // Given up while it waited: it comes again.
      if (signal.aborted) throw new Error('timeout')
      const begun = isTorn
      isTorn = true
      await (file === '-' ? print(output, begun ? `\n${line}` : line) : append(file, line, begun))
      isTorn = false
      return { ok: true } as const
    })
    last = written.catch(() => {})
    return written
  }
}

function print(output: Output, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(line, (error) => (error ? reject(error) : resolve()))
  })
}

/** A pipe that nobody reads is refused at once, instead of waited for. */
const APPEND = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK

/** @param isTorn counts where it cannot be seen */
async function append(file: string, line: string, isTorn = false): Promise<void> {
  const handle = await open(file, APPEND, 0o640)
  try {
    const begins = line !== '' && ((await endsTorn(file, handle)) ?? isTorn)
    await handle.appendFile(begins ? `\n${line}` : line)
    await handle.datasync().catch((error: NodeJS.ErrnoException) => {
      // A pipe or a device has nothing to sync.
      if (error.code !== 'EINVAL' && error.code !== 'ENOTSUP') throw error
    })
  } finally {
    await handle.close()
  }
}

/** The disk was full, or a process died, in the middle of a line. Undefined of what cannot be read, such as a pipe. */
async function endsTorn(file: string, handle: FileHandle): Promise<boolean | undefined> {
  const found = await handle.stat()
  if (!found.isFile()) return undefined
  if (found.size === 0) return false
  const reader = await open(file, 'r').catch(() => undefined)
  try {
    const last = await reader?.read(Buffer.alloc(1), 0, 1, found.size - 1)
    return last && last.bytesRead === 1 && last.buffer[0] !== 0x0a
  } finally {
    await reader?.close()
  }
}

/** @throws StartupError that names the setting, when nothing can be written there */
export async function checkAlertLog(file: string): Promise<void> {
  if (file === '-') return
  try {
    await append(file, '')
  } catch (cause) {
    // A pipe whose reader is not there yet.
    if ((cause as NodeJS.ErrnoException).code === 'ENXIO') return
    throw new StartupError(
      `ALERT_LOG_FILE: cannot write to ${file} (${describeError(cause)}); name a file in a folder that is there.`,
      { cause },
    )
  }
}
