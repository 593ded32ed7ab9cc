/** Names of variables that are probably a misspelt setting. */
import { SettingsSchema } from './settings.ts';

const settings = Object.keys(SettingsSchema.properties);

/** Below this length, one other letter often makes another name (PORT, PORTS). */
const LONG_NAME = 6;

/** @returns the setting that differs by one letter, by swapped letters, or by case or "_" */
export function likelySetting(name: string): string | undefined {
  // ADMIN_TOKEN_FILE names the file of ADMIN_TOKEN.
  const names = [name, name.replace(/_FILE$/, '')];
  if (names.some((given) => settings.includes(given))) return undefined;
  return settings.find((setting) => names.some((given) => isSpeltAlike(given, setting) || isNear(given, setting)));
}

/** Whether the names differ by nothing but case, "_" and "-". */
export const isSpeltAlike = (a: string, b: string): boolean => compact(a) === compact(b);

const compact = (name: string): string => name.toUpperCase().replaceAll(/[_-]/g, '');

/** Whether one letter was changed, added or left out, or two neighbours were swapped. */
function isNear(name: string, setting: string): boolean {
  let same = 0;
  while (same < name.length && name[same] === setting[same]) same += 1;
  const [a, b] = [name.slice(same), setting.slice(same)];
  const rests = [
    [a.slice(1), b],
    [a, b.slice(1)],
    [a.slice(1), b.slice(1)],
  ] as const;
  const isSwapped = a.slice(0, 2) === `${b[1]}${b[0]}` && a.slice(2) === b.slice(2);
  return isSwapped || (setting.length >= LONG_NAME && rests.some(([rest, other]) => rest === other));
}
