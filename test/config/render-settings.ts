import { SETTING_NAMES } from '../../src/config/config.js'
import { metaOf, SETTINGS, type SettingName } from '../../src/config/settings.js'

function defaultTextOf(name: SettingName): string {
  const meta = metaOf(name)
  if (meta.defaultText) return meta.defaultText
  const { def } = SETTINGS[name] as unknown as { def: { defaultValue?: unknown } }
  return def.defaultValue === undefined ? '' : String(def.defaultValue)
}

/** The text of `.env.example`: every setting, commented out, with its default. */
export function renderEnvExample(): string {
  const lines = ['# All settings of Firebreak. Each line shows the default; remove the # to change it.']
  let section = ''
  for (const name of SETTING_NAMES) {
    const meta = metaOf(name)
    if (meta.section !== section) {
      section = meta.section
      lines.push('', `## ${section}`)
    }
    const file = meta.secret ? ` Or ${name}_FILE.` : ''
    const computed = meta.defaultText ? ` Default: ${meta.defaultText}.` : ''
    lines.push(`# ${meta.description}${computed}${file}`)
    lines.push(`#${name}=${meta.defaultText ? '' : defaultTextOf(name)}`)
  }
  return `${lines.join('\n')}\n`
}

/** Markdown would take `<port>` for a tag, and a bar for the next column. */
const toCell = (text: string): string => text.replace(/[|<]/g, '\\$&')

/** The README's table of settings. */
export function renderSettingsTable(): string {
  const rows = SETTING_NAMES.map((name) => {
    const meta = metaOf(name)
    const shown = defaultTextOf(name)
    const text = shown === '' ? 'none' : meta.defaultText ? shown : `\`${shown}\``
    return `| \`${name}\` | ${toCell(text)} | ${toCell(meta.description)}${meta.secret ? ` Or \`${name}_FILE\`.` : ''} |`
  })
  return ['| Setting | Default | |', '|---|---|---|', ...rows].join('\n')
}
