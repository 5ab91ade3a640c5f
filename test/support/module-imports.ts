import { dirname, join } from 'node:path/posix'
import ts from 'typescript'
import { filesBelow, readText } from './source-files.js'

/** One import (or re-export) of one file of `src`. */
export interface ModuleImport {
  /** `src/delivery/sender.ts` */
  readonly from: string
  /** `src/streams/stream.ts`, or the name of a package without its subpath. */
  readonly to: string
  readonly isPackage: boolean
  /** Gone after compilation. */
  readonly isTypeOnly: boolean
}

export interface SourceModule {
  readonly file: string
  /** First folder below src; undefined for the files in src itself. */
  readonly room: string | undefined
  readonly text: string
  readonly imports: readonly ModuleImport[]
  /** True when it only passes on what others export. */
  readonly isBarrel: boolean
}

export function readSourceModules(): SourceModule[] {
  return filesBelow('src', '.ts').map((file) => parseModule(file, readText(file)))
}

export const roomOf = (file: string): string | undefined => /^src\/([^/]+)\//.exec(file)?.[1]

export function parseModule(file: string, text: string): SourceModule {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const imports: ModuleImport[] = []
  const add = (specifier: ts.Node | undefined, isTypeOnly: boolean): void => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return
    const name = specifier.text
    if (name.startsWith('node:')) return
    const isPackage = !name.startsWith('.')
    const to = isPackage ? packageOf(name) : join(dirname(file), name).replace(/\.js$/, '.ts')
    imports.push({ from: file, to, isPackage, isTypeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeImport(node))
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  const isBarrel =
    source.statements.length > 0 &&
    source.statements.every((node) => ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)
  return { file, room: roomOf(file), text, imports, isBarrel }
}

function isTypeImport({ importClause }: ts.ImportDeclaration): boolean {
  if (!importClause) return false
  if (importClause.isTypeOnly) return true
  const { name, namedBindings } = importClause
  if (name || !namedBindings || !ts.isNamedImports(namedBindings)) return false
  return namedBindings.elements.length > 0 && namedBindings.elements.every((element) => element.isTypeOnly)
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
