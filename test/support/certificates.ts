import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** PEM texts. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

export interface IssueOptions {
  /** DNS name or IP address, also the common name. */
  readonly name: string
  /** From now; below 0: it has ended. */
  readonly days?: number
  readonly usage?: 'serverAuth' | 'clientAuth'
  /** An authority below this one. */
  readonly authority?: boolean
}

/** An authority of a test's own, in a folder that goes with it. */
export interface TestAuthority extends Pair {
  readonly folder: string
  issue(options: IssueOptions): Promise<Pair>
  /** As an authority: what it issues is believed by whoever believes it. */
  issueAuthority(name: string): Promise<TestAuthority>
  remove(): Promise<void>
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

export async function openssl(words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('openssl', [...words])
  return stdout
}

export async function createAuthority(name = 'Test authority'): Promise<TestAuthority> {
  const folder = await mkdtemp(join(tmpdir(), 'firebreak-authority-'))
  const files = { cert: join(folder, 'ca.pem'), key: join(folder, 'ca.key') }
  await openssl(['req', '-x509', ...NEW_KEY, '-days', '30', '-subj', `/CN=${name}`, ...outputOf(files)])
  return authorityOf(folder, files)
}

const outputOf = ({ cert, key }: Pair): string[] => ['-keyout', key, '-out', cert]

const read = async ({ cert, key }: Pair): Promise<Pair> => ({
  cert: await readFile(cert, 'utf8'),
  key: await readFile(key, 'utf8'),
})

async function authorityOf(folder: string, files: Pair): Promise<TestAuthority> {
  let issued = 0

  async function issueFiles({
    name,
    days = 30,
    usage = 'serverAuth',
    authority,
  }: IssueOptions): Promise<Pair> {
    issued += 1
    const base = `${files.cert}-${issued}`
    const made = { cert: `${base}.pem`, key: `${base}.key` }
    const extensions = authority
      ? 'basicConstraints=critical,CA:TRUE'
      : `subjectAltName=${isIP(name) === 0 ? 'DNS' : 'IP'}:${name}\nextendedKeyUsage=${usage}`
    await writeFile(`${base}.ext`, extensions)
    await openssl([
      'req',
      '-new',
      ...NEW_KEY,
      '-subj',
      `/CN=${name}`,
      '-keyout',
      made.key,
      '-out',
      `${base}.csr`,
    ])
    const by = ['-CA', files.cert, '-CAkey', files.key, '-CAcreateserial']
    const what = ['-in', `${base}.csr`, '-extfile', `${base}.ext`, '-days', String(days)]
    await openssl(['x509', '-req', ...what, ...by, '-out', made.cert])
    return made
  }

  return {
    ...(await read(files)),
    folder,
    issue: async (options) => read(await issueFiles(options)),
    issueAuthority: async (name) => authorityOf(folder, await issueFiles({ name, authority: true })),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
