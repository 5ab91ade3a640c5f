import assert from 'node:assert/strict'
import { parseSubject } from '../../src/secevent/subject.js'
import { validateEmitted, validateReceived } from '../../src/secevent/validate-event.js'

type Claims = Readonly<Record<string, unknown>>

/** What one section of a specification says of one event type. */
export interface TypeRow {
  readonly section: string
  readonly type: string
  /** A good value of each member that must be there. */
  readonly required?: Claims
  readonly optional?: Claims
  /** Members with a closed list of values: all of them. */
  readonly closed?: Readonly<Record<string, readonly string[]>>
  /** Members whose list is open: a value that no list has. */
  readonly open?: Readonly<Record<string, string>>
}

const SUBJECT = parseSubject({ format: 'email', email: 'jane@example.com' })
const name = (type: string) => type.slice(type.lastIndexOf('/') + 1)
const emitted = (type: string, claims: Claims) => validateEmitted(type, { claims, subject: SUBJECT })

/** Each row as tests: what must be there, what may be, and what may not. */
export function describeTypes(title: string, common: Claims, rows: readonly TypeRow[]): void {
  describe(title, () => {
    for (const row of rows) {
      const { type, required = {}, optional = {}, closed = {}, open = {} } = row
      const full = { ...common, ...required, ...optional }
      const where = `${row.section} ${name(type)}`

      it(`${where}: takes what is required alone, and all members together`, () => {
        assert.deepEqual(emitted(type, required), [])
        assert.deepEqual(emitted(type, full), [])
        assert.deepEqual(validateReceived(type, full), [])
      })

      for (const member of Object.keys(required)) {
        it(`${where}: requires ${member}`, () => {
          const { [member]: _left, ...rest } = full as Record<string, unknown>
          assert.match(emitted(type, rest).join(), new RegExp(member))
          assert.match(validateReceived(type, rest).join(), new RegExp(member))
        })
      }

      for (const [member, value] of Object.entries(full)) {
        it(`${where}: takes no ${member} of another kind`, () => {
          const other = typeof value === 'number' ? 'text' : 7
          assert.notDeepEqual(emitted(type, { ...full, [member]: other }), [])
        })
      }

      for (const [member, values] of Object.entries(closed)) {
        it(`${where}: takes for ${member} each of ${values.join(', ')} and nothing else`, () => {
          for (const value of values) assert.deepEqual(emitted(type, { ...full, [member]: value }), [])
          for (const value of ['other', values[0]?.toUpperCase() === values[0] ? 'low' : 'ADMIN', '']) {
            assert.notDeepEqual(emitted(type, { ...full, [member]: value }), [], value)
          }
        })
      }

      for (const [member, value] of Object.entries(open)) {
        it(`${where}: takes for ${member} a value that the parties agreed on`, () => {
          assert.deepEqual(emitted(type, { ...full, [member]: value }), [])
        })
      }

      it(`${where}: has no other member when emitted, and ignores one that it receives`, () => {
        assert.match(emitted(type, { ...full, vendor: 1 }).join(), /vendor/)
        assert.deepEqual(validateReceived(type, { ...full, vendor: 1 }), [])
      })
    }
  })
}
