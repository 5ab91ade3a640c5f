import { runCli } from '../../src/cli/run-cli.js'
import { failingHooks } from './run-words.js'

// `node cli-process.js <hub url> <words…>`: the command line as a process of its own, for signals.
const [node = '', script = '', hubUrl = '', ...words] = process.argv
const hooks = {
  ...failingHooks(),
  clientConfig: () => ({ firebreakUrl: hubUrl, firebreakToken: 'operator-token', dataDir: '/nonexistent' }),
}
process.exitCode = await runCli([node, script, ...words], hooks)
