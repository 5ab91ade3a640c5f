import { isIP } from 'node:net'
import { z } from 'zod'

/** What a person reads about a setting, in `.env.example`, the README's table and error messages. */
export interface SettingMeta {
  section:
    | 'Server'
    | 'Storage'
    | 'Kafka'
    | 'Security'
    | 'Delivery'
    | 'Alerts'
    | 'Logging'
    | 'Command line'
    | 'Tests'
  description: string
  /** What stands in the documents when the default is computed. */
  defaultText?: string
  /** Masked when printed; may also be given as NAME_FILE. */
  secret?: boolean
}

/** A schema with what a person reads about it. */
export function setting<T extends z.ZodType>(schema: T, meta: SettingMeta): T {
  return schema.meta({ ...meta }) as T
}

// What the values of settings are made of. Every refusal says what to write.

export const port = z
  .string()
  .regex(/^\d{1,5}$/, 'write a port number, 0 to 65535')
  .transform(Number)
  .refine((value) => value <= 65_535, 'write a port number, 0 to 65535')

/** A whole number from `min` to `max`. */
export const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `write a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `write a whole number from ${min} to ${max}`)

export const flag = z.enum(['true', 'false'], 'write true or false').transform((value) => value === 'true')

/** Parts between commas. */
export const list = z.string().transform((value) =>
  value
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
)

export function isUrl(value: string, protocols: string[]): boolean {
  return URL.canParse(value) && protocols.includes(new URL(value).protocol)
}

function isLoopbackHost(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}

/** https, or http on loopback; without query, fragment, user and trailing slash. */
export function isIssuer(value: string): boolean {
  if (!isUrl(value, ['https:', 'http:'])) return false
  const url = new URL(value)
  if (url.search || url.hash || url.username || value.endsWith('/')) return false
  return url.protocol === 'https:' || isLoopbackHost(url.hostname)
}

/** As `isIssuer`, of somebody else: a query and a trailing slash are theirs to choose. */
export function isForeignIssuer(value: string): boolean {
  if (!isUrl(value, ['https:', 'http:'])) return false
  const url = new URL(value)
  if (url.hash || url.username) return false
  return url.protocol === 'https:' || isLoopbackHost(url.hostname)
}

/** An address alone, or with a prefix length. */
export function isCidr(value: string): boolean {
  const [address = '', bits, extra] = value.split('/')
  const family = isIP(address)
  if (!family || extra !== undefined) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

export const postgresUrl = z
  .string()
  .refine(
    (value) => isUrl(value, ['postgres:', 'postgresql:']),
    'write a URL such as postgres://user:password@host:5432/firebreak',
  )
