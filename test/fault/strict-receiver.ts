import assert from 'node:assert/strict'
import { createPublicKey, type JsonWebKey, verify } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { HubProcess } from '../support/hub-process.js'

export interface ListedKey {
  kid: string
  use: string
  alg: string
  state: string
}

/** A receiver that keeps each hub's keys as long as it was told, and never asks for them in between. */
export interface StrictReceiver {
  /** Kids of SETs that were not among the keys of a hub that were fresh when the SET came. */
  readonly unpublished: string[]
  readonly seen: Map<string, number>
  take(set: string): void
  /** Throws what ended its watch over the keys. */
  stop(): Promise<void>
}

/** @param leadS the hubs' SIGNING_KEY_LEAD_S: what may be kept must be shorter */
export function startStrictReceiver(hubs: readonly HubProcess[], leadS: number): StrictReceiver {
  type Cached = { keys: Map<string, JsonWebKey>; freshUntilMs: number }
  const caches = new Map<string, Cached>()
  const unpublished: string[] = []
  const seen = new Map<string, number>()
  const stopping = new AbortController()

  async function watch(hub: HubProcess): Promise<void> {
    while (!stopping.signal.aborted) {
      const askedMs = performance.now()
      const answer = await fetch(`${hub.url}/ssf/jwks.json`).catch(() => undefined)
      if (answer?.ok) {
        const { keys } = (await answer.json()) as { keys: (JsonWebKey & { kid: string })[] }
        const maxAgeS = Number(/max-age=(\d+)/.exec(answer.headers.get('cache-control') ?? '')?.[1])
        assert.ok(maxAgeS > 0 && maxAgeS < leadS)
        const freshUntilMs = askedMs + maxAgeS * 1000
        caches.set(hub.url, { keys: new Map(keys.map((key) => [key.kid, key])), freshUntilMs })
        await delay(freshUntilMs - performance.now(), undefined, { signal: stopping.signal }).catch(() => {})
      } else await delay(100)
    }
  }

  const watching = Promise.all(hubs.map(watch))
  // Whoever stops it hears of its failure; until then it must not end the process.
  watching.catch(() => {})
  return {
    unpublished,
    seen,
    take(set) {
      const [header = '', payload = '', signature = ''] = set.split('.')
      const { kid, alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as ListedKey
      for (const { keys, freshUntilMs } of caches.values()) {
        if (performance.now() > freshUntilMs) continue
        const jwk = keys.get(kid)
        if (!jwk) unpublished.push(kid)
        else {
          const key = createPublicKey({ key: jwk, format: 'jwk' })
          const input = alg === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' as const } : key
          const signed = Buffer.from(`${header}.${payload}`)
          assert.ok(verify('sha256', signed, input, Buffer.from(signature, 'base64url')))
          seen.set(kid, (seen.get(kid) ?? 0) + 1)
        }
      }
    },
    async stop() {
      stopping.abort()
      await watching
    },
  }
}
