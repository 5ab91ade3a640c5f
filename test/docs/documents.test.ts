import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { filesBelow, ROOT, readText } from '../support/source-files.js'

const GUIDES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...filesBelow('docs', '.md')]
const DECISIONS = filesBelow('docs/adr', '.md')

const matches = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] as string)

describe('the documents', () => {
  it('link to files that exist', () => {
    const broken = GUIDES.flatMap((file) =>
      matches(readText(file), /\]\(([^)#\s]+)[^)]*\)/g)
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => !existsSync(join(ROOT, normalize(join(dirname(file), link)))))
        .map((link) => `${file} → ${link}`),
    )
    assert.deepEqual(broken, [])
  })

  it('name files and folders of the repository that exist', () => {
    const named = GUIDES.flatMap((file) =>
      matches(readText(file), /`((?:src|test|docs|schemas|migrations)\/[\w./-]+)`/g).map((path) => [
        file,
        path,
      ]),
    )
    assert.ok(named.length > 40)
    assert.deepEqual(
      named.filter(([, path]) => !existsSync(join(ROOT, path as string))),
      [],
    )
  })

  it('give a source and a test for each specification', () => {
    const [, table = ''] = readText('README.md').split(/<!-- \/?specifications -->/)
    const rows = table.split('\n').filter((line) => /^\| (SSF|CAEP|RISC|RFC)/.test(line))
    assert.ok(rows.length >= 15)
    for (const row of rows) assert.match(row, /\| `(src|schemas)\/[^`]+` \| `test\/[^`]+\.test\.ts` \|$/)
    const listed = new Set(matches(table, /`(test\/spec\/[^`]+)`/g))
    assert.deepEqual(
      filesBelow('test/spec', '.test.ts').filter((file) => !listed.has(file)),
      [],
      'a test of a specification is missing in the table',
    )
  })

  it('name only scripts and settings that there are', () => {
    const text = GUIDES.map(readText).join('\n')
    const { scripts } = JSON.parse(readText('package.json')) as { scripts: Record<string, string> }
    const run = matches(text, /npm run ([a-z:]+)/g)
    assert.deepEqual(
      run.filter((name) => !(name in scripts)),
      [],
    )
    const settings = matches(
      text,
      /`((?:FIREBREAK|KAFKA|DATABASE|DATA|TLS|LOG|MAX|DRAIN|PUSH|POLL)_[A-Z_]+)`/g,
    )
    const known = readText('.env.example')
    assert.deepEqual(
      settings.filter((name) => !known.includes(name)),
      [],
    )
  })

  it('have decisions of at most 40 lines, each with a number of its own and its four parts', () => {
    const numbers = DECISIONS.map((file) => /\/(\d{4})-[a-z0-9-]+\.md$/.exec(file)?.[1])
    assert.equal(new Set(numbers).size, DECISIONS.length)
    DECISIONS.forEach((file, index) => {
      const text = readText(file)
      assert.ok(text.trimEnd().split('\n').length <= 40, file)
      const [title = ''] = text.split('\n')
      assert.match(title, new RegExp(`^# ${Number(numbers[index])}\\. `))
      assert.deepEqual(matches(text, /^## (.*)$/gm), ['Context', 'Decision', 'Consequences', 'Alternatives'])
    })
    assert.ok(DECISIONS.length >= 10)
  })
})
