import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

/**
 * Keeps an admin's token in the data folder, for the command line on this machine.
 * @returns the file, or undefined when the folder takes none: then the token is only what was printed
 */
export function keepAdminToken(dataDir: string, token: string): string | undefined {
  return writeTrace(dataDir, 'admin-token', token)
}

/**
 * Tells the command line on this machine where the hub is.
 * @returns takes it away again
 */
export function announceHub(dataDir: string, hub: { url: string; managementUrl: string }): () => void {
  const content = { url: hub.url, management_url: hub.managementUrl, pid: process.pid }
  const file = writeTrace(dataDir, 'hub.json', JSON.stringify(content))
  return () => {
    if (file) rmSync(file, { force: true })
  }
}

function writeTrace(dataDir: string, name: string, text: string): string | undefined {
  const folder = resolve(dataDir)
  const file = join(folder, name)
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    // With DATABASE_URL nothing else has made it.
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    // Only a file that we make has our mode, and is where it says: one that stands there may be open to all or a link.
    writeFileSync(draft, `${text}\n`, { flag: 'wx', mode: 0o600 })
    try {
      renameSync(draft, file)
    } catch (error) {
      rmSync(draft, { force: true })
      throw error
    }
    return file
  } catch {
    // A read-only folder: FIREBREAK_URL and FIREBREAK_TOKEN say the same.
    return undefined
  }
}
