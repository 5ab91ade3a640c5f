import winston from 'winston'

export type LogFields = Record<string, unknown>

/** One wide line per unit of work. `event` is `noun.verb`; fields are snake_case. Never a SET, token or secret. */
export interface Logger {
  /** A function is called only when somebody reads the line: for what happens once per delivery. */
  debug(event: string, fields?: LogFields | (() => LogFields)): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  /** A person must act now. */
  error(event: string, fields?: LogFields): void
}

export interface LoggerOptions {
  level: 'error' | 'warn' | 'info' | 'debug'
  format: 'json' | 'pretty'
  colour?: boolean
}

const LEVEL_COLOURS: Record<string, string> = { error: '31', warn: '33', info: '32', debug: '90' }

/** Quoted when it is more than a word: what a stranger sent must not look like another line. */
function plain(value: unknown): string {
  return typeof value === 'string' && /^[\w./:@+-]*$/.test(value) ? value : JSON.stringify(value)
}

function prettyLine(colour: boolean) {
  return winston.format.printf(({ level, message, timestamp, ...fields }) => {
    const tag = colour ? `\u001b[${LEVEL_COLOURS[level] ?? '0'}m${level.padEnd(5)}\u001b[0m` : level.padEnd(5)
    const rest = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${key}=${plain(value)}`)
      .join(' ')
    return `${String(timestamp).slice(11, 23)} ${tag} ${String(message)}${rest ? `  ${rest}` : ''}`
  })
}

/** Logs go to standard error, so that standard output stays for answers. */
export function createLogger(options: LoggerOptions): Logger {
  const { combine, timestamp, json } = winston.format
  const logger = winston.createLogger({
    level: options.level,
    format: combine(timestamp(), options.format === 'json' ? json() : prettyLine(options.colour ?? false)),
    transports: [new winston.transports.Console({ stderrLevels: ['error', 'warn', 'info', 'debug'] })],
  })
  // winston formats first and filters later; a line per attempt that nobody reads must cost nothing.
  const write = (level: LoggerOptions['level']) =>
    logger.isLevelEnabled(level)
      ? (event: string, fields: LogFields = {}) => void logger.log(level, event, fields)
      : () => {}
  const debug = write('debug')
  return {
    debug: logger.isLevelEnabled('debug')
      ? (event, fields) => debug(event, typeof fields === 'function' ? fields() : fields)
      : () => {},
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  }
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
