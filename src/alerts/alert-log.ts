import { open } from 'node:fs/promises'
import { describeError, StartupError } from '../kernel/errors.js'
import type { Tell } from './webhook.js'

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
  return async ({ id, body }) => {
    const line = `${JSON.stringify({ id, ...(JSON.parse(body) as object) })}\n`
    try {
      await (file === '-' ? print(output, line) : append(file, line))
      return { ok: true }
    } catch (error) {
      return { ok: false, failure: describeError(error) }
    }
  }
}

function print(output: Output, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    output.write(line, (error) => (error ? reject(error) : resolve()))
  })
}

async function append(file: string, line: string): Promise<void> {
  const handle = await open(file, 'a', 0o640)
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
    throw new StartupError(
      `ALERT_LOG_FILE: cannot write to ${file} (${describeError(cause)}); name a file in a folder that is there.`,
      { cause },
    )
  }
}
