/** A log's text, however it is compressed: by its first bytes, for names are whatever the one who moved it chose. */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { createGunzip, createZstdDecompress } from 'node:zlib';

const KINDS = [
  { name: 'gzip', magic: '1f8b', unpack: createGunzip },
  { name: 'zstd', magic: '28b52ffd', unpack: createZstdDecompress },
  { name: 'xz', magic: 'fd377a585a00', unpack: null },
  { name: 'bzip2', magic: '425a68', unpack: null },
  { name: 'lz4', magic: '04224d18', unpack: null },
  { name: 'zip', magic: '504b0304', unpack: null },
] as const;

/**
 * @param file or "-" for standard input
 * @returns its text; null where there is no such file
 * @throws Error with a sentence where it is compressed in a way that is not known here. The stream fails with one where it is damaged.
 */
export async function openLog(file: string): Promise<NodeJS.ReadableStream | null> {
  if (file === '-') return process.stdin;
  const packed = createReadStream(file);
  try {
    await once(packed, 'readable');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const head = packed.read() as Buffer | null;
  if (head === null) return packed;
  packed.unshift(head);
  const kind = KINDS.find(({ magic }) => head.toString('hex', 0, magic.length / 2) === magic);
  if (kind === undefined) return packed;
  if (kind.unpack === null) {
    packed.destroy();
    throw new Error(
      `${file} is compressed with ${kind.name}, which is not read here: unpack it, and type the command again.`,
    );
  }
  const unpacked = kind.unpack();
  packed.on('error', (error) => unpacked.destroy(error));
  return packed.pipe(unpacked);
}
