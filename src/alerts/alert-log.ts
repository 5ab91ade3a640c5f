import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
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
  return ({ id, body }, signal) => {
    const line = `${JSON.stringify({ id, ...(JSON.parse(body) as object) })}\n`
    const written = last.then(async () => {
      // Given up while it waited: it comes again.
      if (signal.aborted) throw new Error('timeout')
      await (file === '-' ? print(output, line) : append(file, line))
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

async function append(file: string, line: string): Promise<void> {
  const handle = await open(file, APPEND, 0o640)
  try {
    await handle.appendFile(line)
    await handle.datasync().catch((error: NodeJS.ErrnoException) => {
      // A pipe or a device has nothing to sync.
      if (error.code !== 'EINVAL' && error.code !== 'ENOTSUP') throw error
    })
  } finally {
    await handle.close()
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
