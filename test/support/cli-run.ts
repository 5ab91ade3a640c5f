import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { HUB_ENTRY, plainEnvironment } from './hub-process.js'

export interface CommandRun {
  readonly child: ChildProcess
  readonly ended: Promise<{ code: number | null; out: Buffer; err: string }>
}

/** `firebreak <words>` as a process of its own, with these settings and no others. */
export function runCommand(
  words: readonly string[],
  options: { env: Readonly<Record<string, string>>; stdin?: 'pipe'; stdout?: 'kept' | 'given' },
): CommandRun {
  const child = spawn(process.execPath, [HUB_ENTRY, ...words], {
    env: { ...plainEnvironment(), ...options.env },
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
  })
  const out: Buffer[] = []
  let err = ''
  if (options.stdout !== 'given') child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  return {
    child,
    ended: once(child, 'close').then(([code]: (number | null)[]) => ({
      code: code ?? null,
      out: Buffer.concat(out),
      err,
    })),
  }
}
