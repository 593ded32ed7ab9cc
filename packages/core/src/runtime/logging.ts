/** The one way to write log lines, for every process: JSON, with secrets redacted. */
import { type Logger, pino, symbols } from 'pino';
import { lend } from './lend.ts';
import { openRotatedFile } from './rotated-file.ts';

/** Where a token or a password may appear in what is logged. */
export const REDACTED_PATHS = [
  'req.headers.authorization',
  'req.headers.cookie',
  'headers.authorization',
  'headers.cookie',
  'authorization',
  'token',
  'ADMIN_TOKEN',
  'REDIS_URL',
  'DATABASE_URL',
];

/** Instead of a file: for commands, whose stdout is their result. */
export const STDERR = 2;

/**
 * @param service name of the process, on every line
 * @param file that the lines go to; empty: stdout
 */
export function createLogger(service: string, level: string, file: string | typeof STDERR = ''): Logger {
  const options = {
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (file === '') return pino(options);
  if (file === STDERR) return pino(options, pino.destination(STDERR));
  const rotated = openRotatedFile(file);
  let reported = 0;
  const stream = {
    chunkMax: OWN_FILE_CHUNK_MAX,
    lost: 0,
    write(lines: string): void {
      if (!rotated.write(lines)) stream.lost += lines.split('\n').length - 1;
      else if (stream.lost > reported) {
        const since = stream.lost - reported;
        reported = stream.lost;
        log.error({ lines: since }, 'lines of this log could not be written, and are lost');
      }
    },
  };
  const log: Logger = pino(options, stream);
  return log;
}

/** Characters that are written together: PIPE_BUF, so that processes can share a pipe. */
const CHUNK_MAX = 4_096;
/** The same for a file that only this process writes to. */
const OWN_FILE_CHUNK_MAX = 65_536;

/** Where pino writes to. */
interface LineStream {
  write(text: string): void;
  readonly chunkMax?: number;
  readonly lost?: number;
}

/** Lines of this logger and its children that could not be written to their file. */
export function linesLost(log: Logger): number {
  return (log as unknown as { [symbols.streamSym]: LineStream })[symbols.streamSym].lost ?? 0;
}

/** Until the returned function is called, lines with `word` are not written. */
export function muteLines(log: Logger, word: string): () => void {
  const { [symbols.streamSym]: stream } = log as unknown as { [symbols.streamSym]: LineStream };
  const { write } = stream;
  return lend(stream, { write: (text) => void (text.includes(word) || write.call(stream, text)) });
}

/** Fields of a batch's line besides its message. They are not redacted: pass no secret. */
export type LineFields = Readonly<Record<string, string | number | null | undefined>>;

/**
 * Writes a line for each order of a batch, as `log.info` would one by one, in 0.4 µs a line instead
 * of 5. Does not check the level: the accepted-order log is written at any.
 */
export function writeLines(log: Logger, message: string, batch: readonly LineFields[]): void {
  if (batch.length === 0) return;
  const { [symbols.streamSym]: stream, [symbols.chindingsSym]: bindings } = log as unknown as {
    [symbols.streamSym]: LineStream;
    [symbols.chindingsSym]: string;
  };
  // biome-ignore lint/plugin/wall-time: the time of a log line
  const begin = `{"level":"info","time":"${new Date().toISOString()}"${bindings},`;
  const end = `,"msg":${JSON.stringify(message)}}\n`;
  const { chunkMax = CHUNK_MAX } = stream;
  let text = '';
  for (const fields of batch) {
    const line = begin + JSON.stringify(fields).slice(1, -1) + end;
    if (text.length + line.length > chunkMax) {
      stream.write(text);
      text = '';
    }
    text += line;
  }
  stream.write(text);
}
