import { type Database, sqlRows } from '../storage/database.js'

/** A piece of SQL with the values of its placeholders, in the order of the text. */
export interface Sql {
  readonly text: string
  readonly values: readonly unknown[]
}

const isSql = (part: unknown): part is Sql =>
  typeof part === 'object' && part !== null && 'text' in part && 'values' in part

/**
 * Tagged template: a nested fragment is inlined, anything else becomes a bound value. The statements of this room
 * are put together from shared parts (one definition of a sample), and placeholders must follow the text.
 */
export function sql(strings: TemplateStringsArray, ...parts: readonly unknown[]): Sql {
  let text = strings[0] ?? ''
  const values: unknown[] = []
  parts.forEach((part, index) => {
    if (isSql(part)) {
      text += part.text
      values.push(...part.values)
    } else {
      text += '?'
      values.push(part)
    }
    text += strings[index + 1] ?? ''
  })
  return { text, values }
}

/** Fixed text of this program; never anything that a caller sent. */
export const literalSql = (text: string): Sql => ({ text, values: [] })

export function joinSql(parts: readonly Sql[], separator: string): Sql {
  return {
    text: parts.map((part) => part.text).join(separator),
    values: parts.flatMap((part) => part.values),
  }
}

/** @param options as `sqlRows` takes them */
export const runSql = <T>(db: Database, statement: Sql, options: { timeoutMs?: number } = {}): Promise<T[]> =>
  sqlRows<T>(db, statement.text, statement.values, options)
