/** Deeper JSON is no security event, and recursive readers fall over it. */
export const MAX_JSON_DEPTH = 32

/** Numbers from here on fit no bigint, and Postgres would refuse the row. */
const NUMBER_LIMIT = 2 ** 63

const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
/** With the u flag a surrogate pair is one code point, so this finds only lone halves. */
const LONE_SURROGATE = /\p{Surrogate}/u

/**
 * Reads raw JSON text before JSON.parse does, for what JSON.parse takes without a word: a member given twice (two
 * readers may believe different ones), `__proto__`, endless depth, and strings or numbers that Postgres cannot
 * hold, one of which would stop a whole batch. Grammar is left to JSON.parse, which must still be called.
 * @returns what is wrong, to follow "The token …", or undefined
 */
export function scanJson(text: string): string | undefined {
  // One entry per open bracket: the member names seen so far, or undefined for an array.
  const open: (Set<string> | undefined)[] = []
  let nameNext = false
  let index = 0
  while (index < text.length) {
    const char = text.charAt(index)
    if (char === '"') {
      const end = endOfString(text, index)
      const problem = problemOfString(text.slice(index, end), nameNext ? open.at(-1) : undefined)
      if (problem) return problem
      nameNext = false
      index = end
    } else if (char >= '0' && char <= '9') {
      // A minus before it changes nothing.
      NUMBER.lastIndex = index
      const literal = NUMBER.exec(text)?.[0] ?? char
      if (Number(literal) >= NUMBER_LIMIT) return 'holds a number beyond 64 bits'
      index += literal.length
    } else {
      if (char === '{' || char === '[') {
        if (open.push(char === '{' ? new Set() : undefined) > MAX_JSON_DEPTH) {
          return `is nested deeper than ${MAX_JSON_DEPTH} levels`
        }
      } else if (char === '}' || char === ']') open.pop()
      // After a comma in an array too, of whose strings nothing is kept.
      if (char === '{' || char === ',') nameNext = true
      index += 1
    }
  }
  return undefined
}

/** Index after the closing quote; the end of the text when there is none, which JSON.parse then refuses. */
function endOfString(text: string, start: number): number {
  let index = start + 1
  while (index < text.length && text.charAt(index) !== '"') index += text.charAt(index) === '\\' ? 2 : 1
  return Math.min(index + 1, text.length)
}

function problemOfString(literal: string, names: Set<string> | undefined): string | undefined {
  let value: string
  try {
    // Names are compared as they will be read: "aud" and "\u0061ud" are the same member.
    value = literal.includes('\\') ? String(JSON.parse(literal)) : literal.slice(1, -1)
  } catch {
    return 'holds a string that is not JSON'
  }
  if (value.includes('\u0000')) return 'holds U+0000, which cannot be stored'
  if (LONE_SURROGATE.test(value)) return 'holds half of a surrogate pair, which is not a character'
  if (!names) return undefined
  if (value === '__proto__') return 'has a member named __proto__'
  if (names.has(value)) return `has the member ${JSON.stringify(value.slice(0, 80))} twice`
  names.add(value)
  return undefined
}
