/** One figure that was promised, as measured. */
export interface Finding {
  readonly promise: string
  readonly seen: number
  readonly unit: '×' | 'ms' | 'SETs/s'
  /** The bound: at most, unless `isLeast`. */
  readonly bound: number
  readonly isLeast?: boolean
  /** What the figure is made of. */
  readonly detail: string
}

export const isKept = ({ seen, bound, isLeast }: Finding): boolean =>
  isLeast ? seen >= bound : seen <= bound

const figure = ({ unit }: Finding, value: number): string =>
  unit === '×' ? `${value.toFixed(2)} ×` : `${Math.round(value).toLocaleString('en-US')} ${unit}`

/** The table in Markdown. */
export function renderFindings(findings: readonly Finding[]): string {
  const rows = findings.map((finding) => [
    finding.promise,
    `${finding.isLeast ? '≥' : '≤'} ${figure(finding, finding.bound)}`,
    figure(finding, finding.seen),
    isKept(finding) ? 'yes' : 'no',
    finding.detail,
  ])
  const header = ['Promise', 'Bound', 'Seen', 'Kept', 'Made of']
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
