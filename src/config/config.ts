import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { describeError, HubError } from '../kernel/errors.js'
import { metaOf, SETTINGS, type SettingName } from './settings.js'

type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<CamelCase<Tail>>}`
  : Lowercase<Name>

type Given = { [Name in SettingName]: z.output<(typeof SETTINGS)[Name]> }

/** With the defaults that follow other settings. */
type Settings = Given & { CONTENT_RETENTION_DAYS: number; HISTOGRAM_RETENTION_DAYS: number }

/** Every setting under its camelCase name (`KAFKA_BROKERS` → `kafkaBrokers`), validated and frozen. */
export type Config = Readonly<{ [Name in SettingName as CamelCase<Name>]: Settings[Name] }>

/** All faults of the environment at once, one line each. */
export class InvalidConfig extends HubError {
  readonly code = 'ERR_INVALID_CONFIG'
  readonly status = 500
  constructor(readonly faults: readonly string[]) {
    super(`The settings are not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
  }
}

const camelCase = (name: string) =>
  name.toLowerCase().replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[]

/** Empty counts as unset: that is what a blank line in an env file means. NAME_FILE supplies secret settings. */
function collect(
  env: NodeJS.ProcessEnv,
  names: readonly SettingName[],
  faults: string[],
): Record<string, string> {
  const values: Record<string, string> = {}
  for (const name of names) {
    const direct = env[name]
    const file = metaOf(name).secret ? env[`${name}_FILE`] : undefined
    if (direct && file) faults.push(`${name}: set either ${name} or ${name}_FILE, not both`)
    if (direct) values[name] = direct.trim()
    else if (file) {
      try {
        values[name] = readFileSync(file, 'utf8').trim()
      } catch (error) {
        faults.push(`${name}_FILE: cannot read it (${describeError(error)}); name a readable file`)
      }
    }
  }
  return values
}

/**
 * What Kubernetes puts into every container beside a Service whose name begins with firebreak. A plain FIREBREAK_PORT
 * counts only with the address that Kubernetes writes there: a person who means PORT is to be told.
 */
function isServiceVariable(name: string, value = ''): boolean {
  if (/^FIREBREAK_(\w+_)?SERVICE_(HOST|PORT)(_\w+)?$/.test(name)) return true
  if (/^FIREBREAK_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true
  return /^FIREBREAK_(\w+_)?PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value)
}

function unknownNames(env: NodeJS.ProcessEnv): string[] {
  const known = new Set(
    SETTING_NAMES.flatMap((name) => (metaOf(name).secret ? [name, `${name}_FILE`] : [name])),
  )
  return Object.keys(env)
    .filter(
      (name) => name.startsWith('FIREBREAK_') && !known.has(name) && !isServiceVariable(name, env[name]),
    )
    .map((name) => `${name}: there is no such setting; see .env.example for all of them`)
}

/** What is needed longest must go last: Kafka's records, then the keys of repeats, then contents, then frames and figures. */
function retentionFaults(settings: Settings): string[] {
  const { RETENTION_DAYS, CONTENT_RETENTION_DAYS, DEDUPE_WINDOW_DAYS, HISTOGRAM_RETENTION_DAYS } = settings
  const faults: string[] = []
  if (RETENTION_DAYS <= DEDUPE_WINDOW_DAYS) {
    faults.push('RETENTION_DAYS: write more than DEDUPE_WINDOW_DAYS, or repeats could not be told apart')
  } else if (CONTENT_RETENTION_DAYS <= DEDUPE_WINDOW_DAYS) {
    faults.push(
      'CONTENT_RETENTION_DAYS: write more than DEDUPE_WINDOW_DAYS, or repeats could not be told apart',
    )
  }
  if (CONTENT_RETENTION_DAYS > RETENTION_DAYS) {
    faults.push(
      'CONTENT_RETENTION_DAYS: write RETENTION_DAYS or less; without its frame nothing finds a content',
    )
  }
  if (HISTOGRAM_RETENTION_DAYS < RETENTION_DAYS) {
    faults.push('HISTOGRAM_RETENTION_DAYS: write RETENTION_DAYS or more; figures are made of what that keeps')
  }
  if (settings.KAFKA_BROKERS.length > 0 && DEDUPE_WINDOW_DAYS <= KAFKA_RETENTION_DAYS) {
    faults.push(
      `DEDUPE_WINDOW_DAYS: with Kafka write more than the ${KAFKA_RETENTION_DAYS} days that its topics keep records`,
    )
  }
  return faults
}

/** The longest window of figures that can be asked for. */
const FIGURE_DAYS = 400

function withFollowing(given: Given): Settings {
  const { RETENTION_DAYS, CONTENT_RETENTION_DAYS, HISTOGRAM_RETENTION_DAYS } = given
  return {
    ...given,
    CONTENT_RETENTION_DAYS: CONTENT_RETENTION_DAYS ?? RETENTION_DAYS,
    HISTOGRAM_RETENTION_DAYS: HISTOGRAM_RETENTION_DAYS ?? Math.max(FIGURE_DAYS, RETENTION_DAYS),
  }
}

/** Of the topics that the hub creates. */
const KAFKA_RETENTION_DAYS = 7

function egressFaults(settings: Settings): string[] {
  const faults: string[] = []
  const { EGRESS_PROXY_URL, EGRESS_PROXY_CA_FILE, EGRESS_PROXY_RESOLVES, EGRESS_PROXY_LOCAL_NAMES } = settings
  if (EGRESS_PROXY_CA_FILE && (!EGRESS_PROXY_URL || new URL(EGRESS_PROXY_URL).protocol !== 'https:')) {
    faults.push('EGRESS_PROXY_CA_FILE: it is for an https EGRESS_PROXY_URL; set that, or leave it out')
  }
  if (EGRESS_PROXY_RESOLVES && !EGRESS_PROXY_URL) {
    faults.push('EGRESS_PROXY_RESOLVES: set EGRESS_PROXY_URL too, or leave it out')
  }
  if (EGRESS_PROXY_LOCAL_NAMES.length > 0 && !EGRESS_PROXY_RESOLVES) {
    faults.push('EGRESS_PROXY_LOCAL_NAMES: it is for EGRESS_PROXY_RESOLVES=true; set that, or leave it out')
  }
  return faults
}

function crossChecks(settings: Settings): string[] {
  const faults: string[] = []
  if (Boolean(settings.TLS_CERT_FILE) !== Boolean(settings.TLS_KEY_FILE)) {
    faults.push('TLS_CERT_FILE and TLS_KEY_FILE: set both or neither')
  }
  const sasl = [settings.KAFKA_SASL_MECHANISM, settings.KAFKA_SASL_USERNAME, settings.KAFKA_SASL_PASSWORD]
  if (sasl.some(Boolean) && !sasl.every(Boolean)) {
    faults.push('KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD: set all three or none')
  }
  if (settings.FIREBREAK_MASTER_KEY_PREVIOUS && !settings.FIREBREAK_MASTER_KEY) {
    faults.push('FIREBREAK_MASTER_KEY_PREVIOUS: set FIREBREAK_MASTER_KEY too, to the key that replaces it')
  }
  if (Boolean(settings.ALERT_WEBHOOK_URL) !== settings.ALERT_WEBHOOK_SECRET.length > 0) {
    faults.push('ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET: set both or neither')
  }
  if (settings.FIREBREAK_CRASHPOINT && !settings.FIREBREAK_TEST_FAULTS.includes('crashpoint')) {
    faults.push('FIREBREAK_CRASHPOINT: unset it; it ends the hub on purpose, and only tests may ask for that')
  }
  const introspection = [
    settings.OAUTH_INTROSPECTION_ENDPOINT,
    settings.OAUTH_INTROSPECTION_CLIENT_ID,
    settings.OAUTH_INTROSPECTION_CLIENT_SECRET,
  ]
  if (introspection.some(Boolean) && !introspection.every(Boolean)) {
    faults.push(
      'OAUTH_INTROSPECTION_ENDPOINT, OAUTH_INTROSPECTION_CLIENT_ID and OAUTH_INTROSPECTION_CLIENT_SECRET: set all three or none',
    )
  }
  const needIssuer = [settings.OAUTH_AUDIENCE, settings.OAUTH_JWKS_URI, ...introspection]
  if (needIssuer.some(Boolean) && !settings.OAUTH_ISSUER) {
    faults.push('OAUTH_ISSUER: set it too, or none of the OAUTH_ settings')
  }
  faults.push(...retentionFaults(settings), ...egressFaults(settings))
  if (
    settings.PORT !== 0 &&
    settings.PORT === settings.MANAGEMENT_PORT &&
    settings.HOST === settings.MANAGEMENT_HOST
  ) {
    faults.push('MANAGEMENT_PORT: write another port than PORT')
  }
  const servesHttp = settings.ROLES.includes('api') || settings.ROLES.includes('ingest')
  if (settings.PORT === 0 && !settings.ISSUER && !servesHttp) {
    faults.push('ISSUER: write the issuer of the processes that serve HTTP; PORT=0 does not say it')
  }
  return faults
}

/**
 * Reads the environment once. Every fault is found before it throws.
 * @throws InvalidConfig with one line per setting: its name and what to write
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const faults: string[] = []
  const values = collect(env, SETTING_NAMES, faults)
  faults.push(...unknownNames(env))
  const parsed = z.object(SETTINGS).safeParse(values)
  const settings = parsed.success ? withFollowing(parsed.data as Given) : undefined
  if (settings) faults.push(...crossChecks(settings))
  if (parsed.error) faults.push(...parsed.error.issues.map((issue) => faultText(issue, values)))
  if (faults.length > 0 || !settings) throw new InvalidConfig(faults)
  const config = Object.fromEntries(SETTING_NAMES.map((name) => [camelCase(name), settings[name]]))
  return Object.freeze(config) as Config
}

/** Of a command that talks to a hub: the hub's own settings may be wrong or missing where it runs. */
export type ClientConfig = Pick<
  Config,
  'firebreakUrl' | 'firebreakToken' | 'firebreakUpstreamSecret' | 'dataDir'
>

const CLIENT_SETTINGS = ['FIREBREAK_URL', 'FIREBREAK_TOKEN', 'FIREBREAK_UPSTREAM_SECRET', 'DATA_DIR'] as const

/** @throws InvalidConfig about these settings alone */
export function loadClientConfig(env: NodeJS.ProcessEnv = process.env): ClientConfig {
  const faults: string[] = []
  const values = collect(env, CLIENT_SETTINGS, faults)
  const { FIREBREAK_URL, FIREBREAK_TOKEN, FIREBREAK_UPSTREAM_SECRET, DATA_DIR } = SETTINGS
  const schema = z.object({ FIREBREAK_URL, FIREBREAK_TOKEN, FIREBREAK_UPSTREAM_SECRET, DATA_DIR })
  const parsed = schema.safeParse(values)
  if (!parsed.success) faults.push(...parsed.error.issues.map((issue) => faultText(issue, values)))
  if (faults.length > 0 || !parsed.success) throw new InvalidConfig(faults)
  return {
    firebreakUrl: parsed.data.FIREBREAK_URL,
    firebreakToken: parsed.data.FIREBREAK_TOKEN,
    firebreakUpstreamSecret: parsed.data.FIREBREAK_UPSTREAM_SECRET,
    dataDir: parsed.data.DATA_DIR,
  }
}

function faultText(issue: z.core.$ZodIssue, values: Readonly<Record<string, string>>): string {
  const name = String(issue.path[0]) as SettingName
  const shown = metaOf(name).secret ? '' : ` (it is ${JSON.stringify(values[name] ?? '')})`
  return `${name}: ${issue.message}${shown}`
}

/**
 * The issuer in force; the default follows the port.
 * @param config with the port that is really listened on, when PORT is 0
 */
export function issuerOf(config: Pick<Config, 'issuer' | 'port'>): string {
  return config.issuer ?? `http://127.0.0.1:${config.port}`
}

const MASK = '********'

/** Effective values for a person, secrets masked; a URL of a database or a proxy keeps everything but that. */
export function describeConfig(config: Config): { name: SettingName; value: string; isDefault: boolean }[] {
  const values = config as Readonly<Record<string, unknown>>
  const plain = z.object(SETTINGS).parse({}) as Given
  const following = withFollowing({ ...plain, RETENTION_DAYS: config.retentionDays })
  const defaults: Record<string, unknown> = { ...following, RETENTION_DAYS: plain.RETENTION_DAYS }
  return SETTING_NAMES.map((name) => {
    const value = values[camelCase(name)]
    return { name, value: describeValue(name, value), isDefault: String(value) === String(defaults[name]) }
  })
}

function describeValue(name: SettingName, value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0 && metaOf(name).secret)) {
    return metaOf(name).defaultText ?? ''
  }
  if (!metaOf(name).secret) return String(value)
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined
  // Without a user it is a secret as a whole, though it may look like a URL.
  if (!url?.username) return MASK
  // A user alone is a token.
  if (url.password) url.password = MASK
  else url.username = MASK
  // node-postgres takes it from there too.
  if (url.searchParams.has('password')) url.searchParams.set('password', MASK)
  return url.href
}
