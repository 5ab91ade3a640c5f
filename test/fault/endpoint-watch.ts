import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { HubProcess } from '../support/hub-process.js'
import { startWatchdog } from '../support/watchdog.js'

export interface SeenAttempt {
  readonly outcome: string
  readonly reason: string | undefined
  readonly durationMs: number
}

/** What the hub's log says of the attempts to push to a stream; those that succeeded stand there at debug only. */
export function attemptsOf(hub: HubProcess, streamId: string | undefined): SeenAttempt[] {
  return hub
    .output()
    .split('\n')
    .flatMap((line) => {
      if (!line.includes('"delivery.attempted"') || !line.includes(streamId ?? 'none')) return []
      const { outcome, reason, duration_ms } = JSON.parse(line) as Record<string, string | number>
      return [
        { outcome: String(outcome), reason: reason as string | undefined, durationMs: Number(duration_ms) },
      ]
    })
}

const LISTENER = `
const server = require('node:net').createServer()
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => process.stdout.write(server.address().port + '\\n'))
`

/** A port whose queue of connections is full: it refuses nothing and takes nothing, like a firewall that drops. */
export async function startBlackHole(): Promise<{ url: string; close(): Promise<void> }> {
  // A stopped process hears of nobody's end: the watchdog knows it by its folder.
  const folder = await mkdtemp(join(tmpdir(), 'firebreak-hole-'))
  const watchdog = startWatchdog(folder)
  const script = join(folder, 'listener.cjs')
  await writeFile(script, LISTENER)
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line.toString())
  child.kill('SIGSTOP')
  const sockets: Socket[] = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  return {
    url: `http://127.0.0.1:${port}/events`,
    async close() {
      for (const socket of sockets) socket.destroy()
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
      await watchdog.dismiss()
    },
  }
}
