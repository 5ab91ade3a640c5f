import assert from 'node:assert/strict'
import { cellText, renderFields, renderTable } from '../../src/cli/table.js'

describe('tables', () => {
  it('align columns, numbers to the right, without trailing blanks', () => {
    const columns = [
      { title: 'NAME', value: (row: { name: string; n: number }) => row.name },
      { title: 'N', value: (row: { n: number }) => row.n, align: 'right' as const },
      { title: 'NOTE', value: () => undefined },
    ]
    const rows = [
      { name: 'a', n: 100 },
      { name: 'longer', n: 7 },
    ]
    assert.equal(renderTable(columns, rows), 'NAME      N  NOTE\na       100  -\nlonger    7  -\n')
  })

  it('count the width before colour codes', () => {
    const columns = [
      { title: 'S', value: (row: string) => row, paint: (text: string) => `<${text}>` },
      { title: 'T', value: () => 'x' },
    ]
    assert.equal(renderTable(columns, ['ab', 'c']), 'S   T\n<ab>  x\n<c >  x\n')
  })

  it('let no text from the hub move the cursor or forge a line', () => {
    assert.equal(cellText('a\u001b[2Jb\nc\u009b1m'), 'a�[2Jb�c�1m')
  })

  it('show absent values as a dash and leave out absent fields', () => {
    assert.equal(
      renderFields({ id: 'x', gone: undefined, none: null, list: [] }),
      'id    x\nnone  -\nlist  -\n',
    )
  })
})
