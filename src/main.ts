#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { createAuditLog } from './audit/audit-log.js'
import { resetAdmin } from './auth/first-admin.js'
import { WrongUse } from './cli/cli-errors.js'
import type { CliHooks } from './cli/command.js'
import { runCli } from './cli/run-cli.js'
import {
  type ClientConfig,
  type Config,
  describeConfig,
  InvalidConfig,
  issuerOf,
  loadClientConfig,
  loadConfig,
} from './config/config.js'
import { startHub } from './hub.js'
import { backUpHub, restoreHub, rewindHubLog } from './hub-backup.js'
import { describeHub, hubVersion } from './hub-description.js'
import { withDatabase } from './hub-storage.js'
import { keepAdminToken } from './hub-traces.js'
import { describeError } from './kernel/errors.js'
import { createLogger, type Logger } from './kernel/logger.js'
import { EVENTS_SUPPORTED } from './secevent/event-types.js'
import { TOLERANCE_SWITCHES } from './secevent/tolerances.js'
import { migrate } from './storage/migrator.js'

/** Contract: SIGTERM ends the process within this time. */
const STOP_WITHIN_MS = 14_500

function loggerOf(config: Config): Logger {
  const isTerminal = process.stderr.isTTY === true
  const format = config.logFormat ?? (isTerminal ? 'pretty' : 'json')
  return createLogger({ level: config.logLevel, format, colour: isTerminal && process.stderr.hasColors() })
}

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process at once. */
function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first = true
    const onSignal = (signal: NodeJS.Signals): void => {
      if (!first) process.exit(1)
      first = false
      resolve(signal)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}

async function serve(config: Config): Promise<void> {
  const logger = loggerOf(config)
  const say = (text: string): void => void process.stdout.write(`${text}\n`)
  let fatal: (error: Error) => void = () => {}
  const lost = new Promise<Error>((resolve) => {
    fatal = resolve
  })
  const signal = untilSignal()
  process.on('uncaughtException', (error) => {
    // A fault of the program: end, so that another process takes the leases and nothing half-done goes on.
    logger.error('hub.crashed', { reason: describeError(error), stack: error.stack })
    process.exit(1)
  })
  const hub = await startHub({
    config,
    logger,
    onProgress: (text) => say(`… ${text}`),
    onAdminToken: (token, file) => {
      say(`Admin token, shown this once: ${token}`)
      say(file ? `It is also in ${file} for the command line here.` : 'No file holds it: keep it now.')
    },
    onFatal: (error) => fatal(error),
  })
  if (hub.url) say(`Firebreak listens on ${hub.url} (management: ${hub.managementUrl}).`)
  else say(`Firebreak runs ${config.roles.join(', ')} (management: ${hub.managementUrl}).`)
  say(`Data: ${hub.dataDescribed}.`)
  if (hub.url && config.roles.includes('api')) say(nextSteps())
  const why = await Promise.race([signal, lost])
  if (typeof why === 'string') logger.info('hub.stopping', { signal: why })
  setTimeout(() => {
    logger.error('hub.stop_forced', { after_ms: STOP_WITHIN_MS })
    process.exit(1)
  }, STOP_WITHIN_MS).unref()
  await hub.stop()
  if (why instanceof Error) throw why
}

/** In a clone the command is on nobody's path. */
function nextSteps(): string {
  const isClone = existsSync(new URL('../../tsconfig.json', import.meta.url))
  const command = isClone ? 'npx firebreak' : 'firebreak'
  return [
    '\nNext:',
    `  ${command} demo                    watch a session being revoked at three points`,
    `  ${command} transmitter add --help  let an identity provider push SETs`,
    `  ${command} receiver add --help     let a gateway subscribe\n`,
  ].join('\n')
}

/** Settings are read by the command that needs them: help must be had when they are wrong. */
function createHooks(): CliHooks {
  return {
    serve: async () => serve(loadConfig()),
    migrate: async () => withDatabase(loadConfig(), ({ pools }) => migrate(pools.api)),
    printConfig: () =>
      describeConfig(loadConfig())
        .map(({ name, value, isDefault }) => `${name}=${value}${isDefault ? '  (default)' : ''}`)
        .join('\n'),
    openApi: () => {
      const config = loadConfig()
      return describeHub({ issuer: issuerOf(config), oauthIssuer: config.oauthIssuer })
    },
    resetOperator: async () => {
      const config = loadConfig()
      return await withDatabase(config, async ({ pools }) => {
        await migrate(pools.api)
        const token = await resetAdmin({ db: pools.api, audit: createAuditLog() })
        return { name: 'admin', token, file: keepAdminToken(config.dataDir, token) }
      })
    },
    backup: async (options) => {
      // Until it is whole: whoever reads it from a pipe and goes has not got a backup.
      process.exitCode = 1
      return await backUpHub(loadConfig(), options)
    },
    restore: async (options) => restoreHub(loadConfig(), options),
    rewindLog: async (request) => rewindHubLog(loadConfig(), request),
    clientConfig,
    eventTypes: EVENTS_SUPPORTED,
    tolerances: Object.keys(TOLERANCE_SWITCHES),
    environment: process.env,
    version: hubVersion(),
  }
}

/** A wrong setting of a client command is wrong use: exit 2. */
function clientConfig(): ClientConfig {
  try {
    return loadClientConfig()
  } catch (error) {
    throw error instanceof InvalidConfig ? new WrongUse(error.message) : error
  }
}

/** Whoever read our output has gone (`| head`): a command has nobody left to answer, a hub goes on. */
function outliveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      if (process.argv[2] !== 'serve') process.exit()
    })
  }
}

outliveClosedPipes()
process.exitCode = await runCli(process.argv, createHooks())
