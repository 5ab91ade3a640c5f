import ipaddr from 'ipaddr.js'
import { StartupError } from '../kernel/errors.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Address, number]

/** Answer credentials or control a machine: only a network that names exactly this one address opens them. */
const METADATA_ADDRESSES = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd20:ce::254',
])

/** No setting opens these: they are no destination of a request, or they hide one. */
const NEVER = new Set(['unspecified', 'broadcast', 'multicast', 'ipv4Mapped', 'rfc6145', '6to4', 'teredo'])

const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number]

export interface AddressRules {
  /** May a request go to this IP address? Anything that is not an address is refused. */
  permits(address: string): boolean
  /** Does a setting list it? Then it is near: no proxy stands between. */
  isListed(address: string): boolean
  /** Is it a loopback address that a setting lists? Only there plain http is allowed. */
  isListedLoopback(address: string): boolean
}

/**
 * Default deny: an address passes when it is global unicast, or when a listed network holds it. The ranges are
 * those of ipaddr.js, not written by hand; on top, IPv6 outside 2000::/3 never counts as global.
 * @param allowedNetworks CIDRs, or single addresses
 * @throws StartupError for text that is neither
 */
export function createAddressRules(allowedNetworks: readonly string[]): AddressRules {
  const networks = allowedNetworks.map(parseNetwork)

  function isListed(address: Address): boolean {
    const only = METADATA_ADDRESSES.has(address.toString())
    return networks.some(
      ([network, bits]) =>
        network.kind() === address.kind() &&
        (!only || bits === (address.kind() === 'ipv4' ? 32 : 128)) &&
        address.match(network, bits),
    )
  }

  function permitsParsed(address: Address): boolean {
    const range: string = address.range()
    if (NEVER.has(range)) return false
    if (address instanceof ipaddr.IPv6 && range === 'rfc6052') {
      // NAT64: the operator may open the prefix, and the IPv4 address inside must pass too.
      const embedded = new ipaddr.IPv4(address.toByteArray().slice(12))
      return isListed(address) && permitsParsed(embedded)
    }
    if (isListed(address)) return true
    return range === 'unicast' && !METADATA_ADDRESSES.has(address.toString()) && isPlainUnicast(address)
  }

  return {
    permits(text) {
      const address = parseAddress(text)
      return address !== undefined && permitsParsed(address)
    },
    isListed(text) {
      const address = parseAddress(text)
      return address !== undefined && isListed(address)
    },
    isListedLoopback(text) {
      const address = parseAddress(text)
      return address !== undefined && address.range() === 'loopback' && isListed(address)
    },
  }
}

function parseNetwork(text: string): Network {
  try {
    if (text.includes('%')) throw new Error('a zone names an interface, not a network')
    if (text.includes('/')) return ipaddr.parseCIDR(text)
    const address = ipaddr.parse(text)
    return [address, address.kind() === 'ipv4' ? 32 : 128]
  } catch (cause) {
    throw new StartupError(
      `FIREBREAK_ALLOWED_NETWORKS: ${text} is not a network; write CIDRs such as 10.20.0.0/16.`,
      {
        cause,
      },
    )
  }
}

function parseAddress(text: string): Address | undefined {
  // A zone (`fe80::1%eth0`) names an interface of this machine: never a destination for others to choose.
  if (text.includes('%') || !ipaddr.isValid(text)) return undefined
  return ipaddr.parse(text)
}

function isPlainUnicast(address: Address): boolean {
  if (address instanceof ipaddr.IPv4) return true
  // ISATAP carries an IPv4 address in its interface identifier (RFC 5214 §6.1).
  const isatap = (address.parts[4] === 0 || address.parts[4] === 0x200) && address.parts[5] === 0x5efe
  return address.match(GLOBAL_UNICAST) && !isatap
}
