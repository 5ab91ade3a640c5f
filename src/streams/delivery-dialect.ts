import type { Compatibility } from '../auth/compatibility.js'
import { present } from '../kernel/present.js'
import { isJsonObject } from '../secevent/canonical-json.js'
import { METHOD_URI } from './stream.js'
import type { StreamConfiguration } from './stream-configuration.js'

const RISC_METHOD = 'https://schemas.openid.net/secevent/risc/delivery-method/'

/** Delivery methods as the RISC drafts name them, and as SSF 1.0 §6.1 does. */
const METHODS: readonly (readonly [risc: string, uri: string])[] = [
  [`${RISC_METHOD}push`, METHOD_URI.push],
  [`${RISC_METHOD}poll`, METHOD_URI.poll],
]

export const RISC_METHODS: readonly string[] = METHODS.map(([risc]) => risc)

/** A configuration as the receiver's client wrote it, in the words of SSF 1.0. What is no object is left to the schema. */
export function readDialect(body: unknown, compatibility: Compatibility): unknown {
  if (!isJsonObject(body) || !isJsonObject(body.delivery)) return body
  let { delivery } = body
  if (compatibility.includes('risc_delivery_methods')) delivery = fromRisc(delivery)
  if (compatibility.includes('accept_empty_poll_url') && isEmptyPollUrl(delivery)) {
    const { endpoint_url: _empty, ...rest } = delivery
    delivery = rest
  }
  return { ...body, delivery }
}

/** The other way round. Under both names, since the drafts had one and then the other. */
export function writeDialect(configuration: StreamConfiguration, compatibility: Compatibility): object {
  if (!compatibility.includes('risc_delivery_methods')) return configuration
  const { method, endpoint_url } = configuration.delivery
  const risc = METHODS.find(([, uri]) => uri === method)?.[0] ?? method
  return {
    ...configuration,
    delivery: { method: risc, endpoint_url, delivery_method: risc, url: endpoint_url },
  }
}

function fromRisc(delivery: Record<string, unknown>): Record<string, unknown> {
  const { delivery_method, url, ...rest } = delivery
  const named = rest.method ?? delivery_method
  const method = METHODS.find(([risc]) => risc === named)?.[1] ?? named
  return present({ ...rest, method, endpoint_url: rest.endpoint_url ?? url })
}

function isEmptyPollUrl(delivery: Record<string, unknown>): boolean {
  return delivery.method === METHOD_URI.poll && delivery.endpoint_url === ''
}
