/**
 * Stands in for the hub in the tests of the embedded Postgres: starts it on argv[2], says so in one line of JSON,
 * keeps writing rows when told to, ignores Ctrl-C, and stops in order at SIGTERM.
 */
import { StartupError } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { startEmbeddedPostgres } from '../../src/storage/embedded-postgres.js'

const [, , dataDir = '', rest = '{}'] = process.argv
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
process.on('SIGINT', () => say({ interrupted: true }))
try {
  const progress: string[] = []
  const postgres = await startEmbeddedPostgres({
    dataDir,
    logger: silentLogger,
    onProgress: (text) => void progress.push(text),
    ...(JSON.parse(rest) as object),
  })
  const alive = setInterval(() => {}, 1_000)
  process.once('SIGTERM', () => {
    void postgres.stop().then(() => {
      clearInterval(alive)
      say({ stopped: true })
    })
  })
  say({ url: postgres.url, pid: postgres.pid(), folder: postgres.folder, progress })
} catch (error) {
  if (!(error instanceof StartupError)) throw error
  say({ refused: error.message })
  process.exitCode = 1
}
