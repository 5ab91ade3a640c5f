import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { startMiniHub } from './mini-hub.js'

// `node mini-hub-process.js serve`: stands for the hub's program in tests of the demo itself.
const { PORT, MANAGEMENT_PORT, FIREBREAK_ADMIN_TOKEN, DATA_DIR } = process.env
const program = process.argv[1] ?? ''
if (process.argv[2] !== 'serve') throw new Error('the demo must run "serve"')
if (process.env.DATABASE_URL) throw new Error("the demo must not pass the user's settings on")

if (program.includes('broken-hub')) {
  process.stderr.write('PORT is taken\n')
  process.exit(1)
}

// Like the embedded Postgres: detached, and known by the data folder on its command line.
const postgres = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', `${DATA_DIR}/postgres`], {
  detached: true,
  stdio: 'ignore',
})
const deaf = program.includes('deaf-hub')
await startMiniHub({ port: Number(PORT), adminToken: FIREBREAK_ADMIN_TOKEN ?? '', deaf })
createServer((_req, res) => void res.end('ok')).listen(Number(MANAGEMENT_PORT), '127.0.0.1')

process.on('SIGTERM', () => {
  if (!program.includes('leaky-hub')) postgres.kill('SIGKILL')
  void sleep(50).then(() => process.exit(0))
})
