/** The drop that the measuring commands play, unless something else is typed. */
import { readArguments } from './read-arguments.ts';

/** @param script its `import.meta.url` */
export function readDropArguments(script: string) {
  const { values } = readArguments(script, {
    options: {
      buyers: { type: 'string', default: '20000' },
      units: { type: 'string', default: '1000' },
      connections: { type: 'string', default: '200' },
      write: { type: 'boolean', default: false },
    },
  });
  const { buyers, units, connections, write } = values;
  return { buyers: Number(buyers), units: Number(units), connections: Number(connections), write };
}
