import { lookup as systemLookup } from 'node:dns/promises'
import type { UrlRules } from './url-rules.js'

export interface ResolvedAddress {
  address: string
  family: 4 | 6
}

/** Every address of a name. Rejects with the resolver's own error when there is none. */
export type Resolver = (hostname: string) => Promise<ResolvedAddress[]>

/** The system's resolver: it knows /etc/hosts and search domains, which Kubernetes needs. */
export const systemResolver: Resolver = async (hostname) => {
  const found = await systemLookup(hostname, { all: true })
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}

/** Resolves a name and checks all its addresses; one bad address refuses the name (mixed answers are how rebinding starts). */
export async function resolveChecked(
  rules: UrlRules,
  resolve: Resolver,
  target: { hostname: string; secure: boolean },
): Promise<ResolvedAddress[]> {
  const addresses = await resolve(target.hostname)
  if (addresses.length === 0) throw Object.assign(new Error('no address'), { code: 'ENOTFOUND' })
  for (const { address } of addresses) rules.checkAddress(target, address)
  return addresses
}
