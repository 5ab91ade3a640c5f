export interface Column<R> {
  title: string
  value(row: R): unknown
  align?: 'left' | 'right'
  /** Applied after padding, so that colour codes do not count as width. */
  paint?(padded: string, row: R): string
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: names come from receivers; none may move the cursor.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g

/** One printable line for any JSON value; absent values are a dash. */
export function cellText(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-'
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cellText).join(', ')
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return text.replace(CONTROL, '�')
}

/** Aligned columns, two spaces apart, no trailing blanks; ends with a newline. */
export function renderTable<R>(columns: readonly Column<R>[], rows: readonly R[]): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.value(row))))
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...cells.map((line) => (line[at] ?? '').length)),
  )
  const pad = (text: string, at: number) =>
    columns[at]?.align === 'right' ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0)
  const lines = [columns.map((column, at) => pad(column.title, at)).join('  ')]
  cells.forEach((line, index) => {
    const row = rows[index] as R
    lines.push(line.map((text, at) => columns[at]?.paint?.(pad(text, at), row) ?? pad(text, at)).join('  '))
  })
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

/** `name  value` lines of one object. */
export function renderFields(fields: Record<string, unknown>): string {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
  const width = Math.max(0, ...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `${name.padEnd(width)}  ${cellText(value)}\n`).join('')
}
