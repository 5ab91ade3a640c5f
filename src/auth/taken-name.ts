import { Conflict } from '../kernel/errors.js'

/** Runs a change and turns "this name exists" (unique violation on a name) into a Conflict that says so. */
export async function refuseTakenName<T>(refusal: string, change: () => Promise<T>): Promise<T> {
  try {
    return await change()
  } catch (error) {
    const { code, constraint } = error as { code?: unknown; constraint?: unknown }
    // Asking first would leave a moment in which somebody else takes the name.
    if (code === '23505' && typeof constraint === 'string' && constraint.endsWith('_name_key')) {
      throw new Conflict(refusal, { cause: error })
    }
    throw error
  }
}
