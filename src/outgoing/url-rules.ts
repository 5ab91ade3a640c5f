import { isIP } from 'node:net'
import type { AddressRules } from './address-rules.js'
import { AddressRefused } from './outgoing-errors.js'

export interface Target {
  /** `https://host:port`, what a pool is keyed by. */
  readonly origin: string
  /** Path and query, as sent. */
  readonly path: string
  /** Without the brackets of an IPv6 literal. */
  readonly hostname: string
  readonly secure: boolean
}

const MAX_URL_LENGTH = 2048

/** Services that understand something other than HTTP, where a POST body could be read as commands. */
const REFUSED_PORTS: readonly number[] = [
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 79, 110, 111, 113, 119, 123, 135,
  137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 530, 531, 532, 540, 548, 554, 563, 587, 601,
  636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2379, 2380, 3306, 3659, 4045, 4190,
  5060, 5061, 5432, 5672, 6000, 6379, 6432, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9092, 9093, 10080,
  11211, 27017,
]

export interface UrlRules {
  /** Parses and checks everything that needs no name look-up. Throws AddressRefused. */
  parse(url: string): Target
  /** Checks one address that `target` resolved to, or is. Throws AddressRefused. */
  checkAddress(target: Pick<Target, 'hostname' | 'secure'>, address: string): void
  /** Is it on a network of ours that a setting lists? */
  isListed(address: string): boolean
  /** Checks a name that somebody else will look up. Throws AddressRefused. */
  checkName(hostname: string): void
}

/**
 * Top-level names of which no public one is to be made: what they mean is up to whoever looks them up. Special uses (RFC 6761,
 * RFC 6762, RFC 7686, RFC 9476; `arpa` with home.arpa of RFC 8375), `internal` as ICANN reserved it, those that private networks use
 * (RFC 6762 appendix G; `corp`, `home` and `mail` ICANN will not delegate), and what clusters and service directories answer for.
 */
const INSIDE_TOPS = new Set([
  ...['alt', 'arpa', 'invalid', 'local', 'localhost', 'onion', 'test'],
  ...['corp', 'home', 'internal', 'intranet', 'lan', 'mail', 'private'],
  ...['localdomain', 'localnet', 'domain', 'workgroup'],
  ...['cluster', 'consul', 'docker', 'k8s', 'kubernetes', 'nomad', 'svc'],
])

function isInside(hostname: string): boolean {
  const labels = hostname.toLowerCase().replace(/\.$/, '').split('.')
  // A cloud's own: `goog` is public.
  const isMetadata = labels.slice(-2).join('.') === 'metadata.goog'
  return labels.length === 1 || isMetadata || INSIDE_TOPS.has(labels.at(-1) ?? '')
}

/** @param refusedPorts the hub's own stores, beside the fixed list; 80 and 443 cannot be refused */
export function createUrlRules(addresses: AddressRules, refusedPorts: readonly number[] = []): UrlRules {
  const ports = new Set([...REFUSED_PORTS, ...refusedPorts].filter((port) => port !== 80 && port !== 443))

  function checkAddress(target: Pick<Target, 'hostname' | 'secure'>, address: string): void {
    if (!addresses.permits(address)) throw new AddressRefused(`${target.hostname} is at ${address}`)
    if (!target.secure && !addresses.isListedLoopback(address)) {
      throw new AddressRefused(`plain http to ${target.hostname} at ${address}`)
    }
  }

  return {
    checkAddress,
    isListed: addresses.isListed,
    checkName(hostname) {
      if (isInside(hostname)) throw new AddressRefused(`${hostname} is an inside name`)
    },
    parse(text) {
      const url = parseUrl(text)
      const secure = url.protocol === 'https:'
      const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1')
      const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
      if (ports.has(port)) throw new AddressRefused(`port ${port}`)
      const target = { origin: url.origin, path: url.pathname + url.search, hostname, secure }
      if (isIP(hostname) !== 0) checkAddress(target, hostname)
      return target
    },
  }
}

function parseUrl(text: string): URL {
  if (text.length > MAX_URL_LENGTH) throw new AddressRefused('URL too long')
  // `new URL` drops tabs and line ends and turns back-slashes round: what we check must be what others read.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u0020\u007f\\]/.test(text)) throw new AddressRefused('control character, space or back-slash')
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new AddressRefused('not a URL', { cause })
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new AddressRefused(`scheme ${url.protocol}`)
  if (url.username !== '' || url.password !== '' || /^[a-z]+:\/*[^/?#]*@/i.test(text))
    throw new AddressRefused('userinfo')
  if (url.hostname === '') throw new AddressRefused('no host')
  // No name of the DNS, and what is made of `127.0.0.1..` or `localhost..` is up to who looks it up.
  if (/^\.|\.\./.test(url.hostname)) throw new AddressRefused('empty label')
  return url
}
