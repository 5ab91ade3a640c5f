import { LRUCache } from 'lru-cache'
import type { JtiCodec } from '../secevent/delivery-jti.js'
import { mintClaims } from '../secevent/mint.js'
import { renderEvent } from '../secevent/render-event.js'
import type { SetSigner } from '../secevent/sign.js'
import type { EventContent, OpenDelivery } from './open-delivery.js'

export interface MintFor {
  readonly audience: string
  readonly alg: 'RS256' | 'ES256'
}

type Rendered = Pick<OpenDelivery, 'rendering' | 'type' | 'effect'>

export interface Minter {
  /** The name under which the receiver knows this SET. */
  jtiOf(delivery: Pick<OpenDelivery, 'eventId' | 'receiverId'>): string
  /** Why this delivery's rendering has no form for the event; undefined when it has one. */
  refusalOf(delivery: Rendered, content: EventContent): string | undefined
  /** The compact SET of a delivery that `refusalOf` has nothing against. Claims are a pure function of event, receiver and rendering. */
  mint(delivery: OpenDelivery, content: EventContent, receiver: MintFor): Promise<string>
}

/** Signatures are the ceiling of the hub, so streams of one receiver and repeated polls share them. At 64 KiB a SET at most. */
const CACHED_SETS = 1_024

export function createMinter(options: {
  issuer: string
  signer(alg: 'RS256' | 'ES256'): SetSigner
  jtis: JtiCodec
}): Minter {
  const cache = new LRUCache<string, Promise<string>>({ max: CACHED_SETS })
  const jtiOf: Minter['jtiOf'] = ({ eventId, receiverId }) => options.jtis.mint(eventId, receiverId)
  const render = ({ rendering, type, effect }: Rendered, { subject, claims }: EventContent) =>
    renderEvent(rendering, { type, effect, subject, claims })
  return {
    jtiOf,
    refusalOf(delivery, content) {
      const rendered = render(delivery, content)
      return 'refusal' in rendered ? rendered.refusal : undefined
    },
    mint(delivery, content, receiver) {
      const signer = options.signer(receiver.alg)
      const key = `${delivery.eventId} ${delivery.receiverId} ${delivery.rendering} ${signer.kid}`
      const cached = cache.get(key)
      if (cached) return cached
      const rendered = render(delivery, content)
      if ('refusal' in rendered) return Promise.reject(new TypeError(rendered.refusal))
      const claims = mintClaims({
        event: {
          type: delivery.type,
          ...rendered.content,
          txn: delivery.txn,
          acceptedAtMs: delivery.acceptedAtMs,
        },
        issuer: options.issuer,
        audience: receiver.audience,
        jti: jtiOf(delivery),
      })
      const signed = signer.sign(claims)
      cache.set(key, signed)
      // A failed signature must not be remembered.
      signed.catch(() => cache.delete(key))
      return signed
    },
  }
}
