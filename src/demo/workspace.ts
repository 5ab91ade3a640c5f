import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** A folder that holds everything of one demo run. */
export interface Workspace {
  readonly folder: string
  /** Every folder that belongs to the run, now. */
  folders(): string[]
  /** @returns what could not be removed */
  remove(): string[]
}

export function createWorkspace(): Workspace {
  const folder = mkdtempSync(join(tmpdir(), 'firebreak-demo-'))
  // Run as root, the hub gives PostgreSQL to another user, who must be able to pass.
  chmodSync(folder, 0o711)
  return {
    folder,
    folders: () => foldersOf(folder),
    remove: () => removeFolders(folder),
  }
}

/**
 * When that user cannot pass anyway (a private TMPDIR above), the hub keeps PostgreSQL's data elsewhere and says where
 * in this file.
 */
export function foldersOf(folder: string): string[] {
  const note = join(folder, 'data', 'postgres.location')
  const outside = existsSync(note) ? readFileSync(note, 'utf8').trim() : ''
  // Only what has the shape of a folder made for this run alone is ever removed.
  const own = basename(outside) === 'postgres' && /^[0-9a-f]{16}$/.test(basename(dirname(outside)))
  return own ? [folder, dirname(outside)] : [folder]
}

export function removeFolders(folder: string): string[] {
  return foldersOf(folder)
    .reverse()
    .filter((path) => {
      rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
      return existsSync(path)
    })
}
