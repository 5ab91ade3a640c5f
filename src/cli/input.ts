import { readFile } from 'node:fs/promises'
import { WrongUse } from './cli-errors.js'
import type { CliIo } from './cli-io.js'

const MAX_INPUT_BYTES = 1024 * 1024

/** The text of a file, or of standard input when `path` is `-`. `option` is named in the error. */
export async function readInput(io: CliIo, path: string, option: string): Promise<string> {
  if (path === '-') {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of io.stdin) {
      chunks.push(Buffer.from(chunk as Buffer | string))
      bytes += chunks.at(-1)?.length ?? 0
      if (bytes > MAX_INPUT_BYTES) throw new WrongUse(`${option}: standard input is larger than 1 MiB`)
    }
    return Buffer.concat(chunks).toString('utf8')
  }
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new WrongUse(`${option}: cannot read ${path} (${reason})`, { cause: error })
  }
}

/** A secret: one line, the newline at its end left out. */
export async function readSecret(io: CliIo, path: string, option: string): Promise<string> {
  const secret = (await readInput(io, path, option)).replace(/\r?\n$/, '')
  if (secret === '' || /[\r\n]/.test(secret)) {
    throw new WrongUse(`${option}: ${path === '-' ? 'standard input' : path} must hold exactly one line`)
  }
  return secret
}

/** A JSON object given on the command line or read from a file. */
export function parseObject(text: string, option: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new WrongUse(`${option} is not JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new WrongUse(`${option} must be a JSON object`)
  }
  return value as Record<string, unknown>
}
