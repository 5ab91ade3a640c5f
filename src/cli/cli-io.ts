import type { Readable, Writable } from 'node:stream'

/** Everything a command reads from and writes to; given as an argument so that tests see every byte. */
export interface CliIo {
  readonly stdin: Readable & { isTTY?: boolean }
  /** For answers that are no text. */
  readonly stdout: Writable & { isTTY?: boolean }
  /** Answers only. */
  out(text: string): void
  /** Progress and errors. */
  err(text: string): void
  /** Colours on standard output. */
  readonly colour: boolean
  /** Standard error is a terminal: progress may be drawn. */
  readonly progress: boolean
}

/** `hasColors` honours NO_COLOR, FORCE_COLOR and TERM by itself. */
export function processIo(): CliIo {
  return {
    get stdin() {
      return process.stdin
    },
    get stdout() {
      return process.stdout
    },
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    colour: process.stdout.isTTY === true && process.stdout.hasColors(),
    progress: process.stderr.isTTY === true,
  }
}

export type Colour = 'red' | 'green' | 'yellow' | 'grey' | 'bold'
const CODES: Record<Colour, string> = { red: '31', green: '32', yellow: '33', grey: '90', bold: '1' }

export function paint(io: Pick<CliIo, 'colour'>, colour: Colour, text: string): string {
  return io.colour ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text
}

/** Takes away a progress line that may be there. */
export const WIPE_LINE = '\r\u001b[K'
const FRAMES = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠇']
const QUIET_MS = 1_000

/** Draws a line on a terminal's standard error once `work` has taken over a second, and wipes it after. */
export async function withProgress<T>(io: CliIo, label: string, work: Promise<T>): Promise<T> {
  if (!io.progress) return work
  const startedAt = Date.now()
  let drawn = 0
  const timer = setInterval(() => {
    const elapsedMs = Date.now() - startedAt
    if (elapsedMs < QUIET_MS) return
    io.err(`${WIPE_LINE}${FRAMES[drawn++ % FRAMES.length]} ${label} ${Math.floor(elapsedMs / 1000)} s`)
  }, 120)
  try {
    return await work
  } finally {
    clearInterval(timer)
    if (drawn > 0) io.err(WIPE_LINE)
  }
}
