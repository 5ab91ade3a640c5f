import assert from 'node:assert/strict'
import { EXIT } from '../src/cli/cli-errors.js'
import { filesBelow, readText } from './support/source-files.js'

interface ErrorCode {
  readonly code: string
  /** HTTP statuses, or for the command line exit codes, as the documents write them. */
  readonly ends: string
}

const IN_CLASS = /\bclass \w+ extends (\w+)[\s\S]*?\n}/g
const CODE = /readonly code = '(ERR_[A-Z_]+)'/
const STATUS = /readonly status(?: = |: )([\d |]+)/
const EXIT_CODE = /readonly exitCode = EXIT\.(\w+)/
/** No class of its own: what every unknown failure becomes. */
const INTERNAL: ErrorCode = { code: 'ERR_INTERNAL', ends: '500' }
/** Thrown where there is no server; `firebreak` prints them and exits 1. */
const WITHOUT_SERVER = [
  'ERR_STARTUP',
  'ERR_INVALID_CONFIG',
  'ERR_ARCHIVE_DAMAGED',
  'ERR_ARCHIVE_UNKNOWN',
  'ERR_TARGET_NOT_EMPTY',
  'ERR_NOTHING_TO_BACK_UP',
  'ERR_OUTPUT_FAILED',
]

function codesInSource(): ErrorCode[] {
  const found = filesBelow('src', '.ts').flatMap((file) =>
    [...readText(file).matchAll(IN_CLASS)].flatMap(([text, parent]): ErrorCode[] => {
      const code = CODE.exec(text)?.[1]
      if (!code) return []
      if (WITHOUT_SERVER.includes(code)) return [{ code, ends: '1' }]
      const exit = EXIT_CODE.exec(text)?.[1] as keyof typeof EXIT | undefined
      if (parent === 'CliError') return [{ code, ends: String(exit && EXIT[exit]) }]
      const statuses =
        STATUS.exec(text)?.[1]
          ?.trim()
          .split(/ *\| */) ?? []
      return [{ code, ends: statuses.join(', ') }]
    }),
  )
  return [...found, INTERNAL]
}

function codesInDocs(): ErrorCode[] {
  return readText('docs/errors.md')
    .split('\n')
    .filter((line) => line.startsWith('| `ERR_'))
    .map((line) => {
      const [, code = '', ends = '', when = '', what = ''] = line.split('|').map((cell) => cell.trim())
      assert.ok(when && what, `${code} says neither when nor what to do`)
      return { code: code.replaceAll('`', ''), ends }
    })
}

const text = ({ code, ends }: ErrorCode): string => `${code} ${ends}`

describe('the error codes', () => {
  it('are the same in the source and in docs/errors.md, with status or exit code', () => {
    const inSource = new Set(codesInSource().map(text))
    assert.deepEqual(codesInDocs().map(text).sort(), [...inSource].sort())
  })

  it('stand in classes only, so that none escapes the comparison', () => {
    const inClasses = new Set(codesInSource().map(({ code }) => code))
    const named = filesBelow('src', '.ts').flatMap((file) =>
      [...readText(file).matchAll(/'(ERR_[A-Z_]+)'/g)].map((match) => match[1] as string),
    )
    assert.deepEqual(
      [...new Set(named)].filter((code) => !inClasses.has(code)),
      [],
    )
  })
})
