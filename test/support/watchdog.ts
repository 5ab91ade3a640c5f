import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Ends what a test process started, however that process itself ends. */
export interface Watchdog {
  /** A child whose command line does not name the folder; only the last one told counts. */
  watch(pid: number | undefined): void
  /** Nothing is left to end: resolves when the watchdog has ended, the folder is gone by then. */
  dismiss(): Promise<void>
}

// QUIT ends PostgreSQL with its children, and nothing else surely; what is left after a second is killed.
const SCRIPT = `
while read -r pid; do last=$pid; done
[ -d "$1" ] || exit 0
if [ -n "$2" ]; then case "$(ps -o args= -p "$last" 2>/dev/null)" in *"$2"*) kill -KILL "$last";; esac; fi
for signal in QUIT KILL; do
  ps -eo pid=,args= | grep -F -- "$1/" | grep -v grep | while read -r pid rest; do
    kill -$signal "$pid" 2>/dev/null; done
  [ "$signal" = KILL ] || sleep 1
done
umount -l "$1" 2>/dev/null
rm -rf "$1"; sleep 0.2; rm -rf "$1"
`

/**
 * However this process ends, SIGKILL included, its end of the pipe closes: then a shell ends all processes whose command
 * line names the folder and the one that it was told of, and removes the folder, even if it is a mounted disk. It runs in a session of its own, so a
 * Ctrl-C does not take it along.
 * @param options.marks part of the command line of the watched child: an old pid may belong to a stranger by then
 */
export function startWatchdog(folder: string, options: { marks?: string } = {}): Watchdog {
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', folder, options.marks ?? ''], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  shell.unref()
  ;(shell.stdin as unknown as { unref(): void }).unref()
  // Whoever ended the shell ended the watch: no reason to end the tests.
  shell.stdin.on('error', () => {})
  return {
    watch: (pid) => void shell.stdin.write(`${pid ?? ''}\n`),
    async dismiss() {
      const ended = once(shell, 'exit')
      shell.ref()
      shell.stdin.end()
      await ended
    },
  }
}
