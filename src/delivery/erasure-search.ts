import { dayOf } from '../kernel/clock.js'
import { SealBroken } from '../keys/aead.js'
import type { Subject } from '../secevent/event.js'
import type { Person } from '../secevent/person.js'
import type { SealedEvent } from './erasure-repository.js'
import type { SealedRecord } from './parked-repository.js'

export interface ContentKeys {
  contentCipher(day: string): Promise<{ open(sealed: Buffer): Buffer }>
}

/** Says of what is under seal whether it names a person. What no key opens any more is unreadable already. */
export function createContentSearch(keys: ContentKeys) {
  return {
    async isInEvent(person: Person, { content, day }: SealedEvent): Promise<boolean> {
      const text = await openText(content, [day])
      return text !== undefined && isAbout(person, JSON.parse(text))
    },

    async isInRecord(person: Person, { record, parkedDay }: SealedRecord): Promise<boolean> {
      // Sealed by the hub's clock, dated by the database's: at midnight they may differ.
      const text = await openText(record, [parkedDay, nextDay(parkedDay, -1), nextDay(parkedDay, 1)])
      return text !== undefined && namesInRecord(person, text)
    },
  }

  async function openText(sealed: Buffer, days: readonly string[]): Promise<string | undefined> {
    for (const day of days) {
      try {
        return (await keys.contentCipher(day)).open(sealed).toString()
      } catch (error) {
        if (!(error instanceof SealBroken)) throw error
      }
    }
    return undefined
  }
}

function isAbout(person: Person, content: unknown): boolean {
  const { sub_id: subject } = (content ?? {}) as { sub_id?: Subject }
  return (subject !== undefined && person.isIn(subject)) || person.isNamedBy(content)
}

/** A parked record is an event as JSON, a SET in compact form, or anything. */
function namesInRecord(person: Person, text: string): boolean {
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(text) ?? []
  const json = payload === undefined ? text : Buffer.from(payload, 'base64url').toString()
  try {
    const value = JSON.parse(json) as { sub_id?: Subject; subject?: Subject } | null
    return isAbout(person, { ...value, sub_id: value?.sub_id ?? value?.subject })
  } catch {
    return person.isNamedBy(json) || person.isNamedBy(text)
  }
}

function nextDay(day: string, by: number): string {
  return dayOf(Date.parse(day) + by * 86_400_000)
}
