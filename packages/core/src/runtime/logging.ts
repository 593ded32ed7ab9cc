/** One way to write lines, for every process: JSON, with secrets struck out. */
import { type Logger, pino, symbols } from 'pino';
import { openRotatedFile } from './rotated-file.ts';

/** Places where a token or a password may stand in what is logged. */
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

/** Lines of a logger's own file that could not be written since it was opened. */
const lost = new WeakMap<Logger, () => number>();

/** @returns of this logger, from `createLogger`; where it writes to stdout, nobody knows and it is 0 */
export function linesLost(log: Logger): number {
  return lost.get(log)?.() ?? 0;
}

/**
 * @param service name of the process, on every line
 * @param file that the lines go to; empty: stdout
 */
export function createLogger(service: string, level: string, file = ''): Logger {
  const options = {
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (file === '') return pino(options);
  const rotated = openRotatedFile(file);
  let linesLost = 0;
  let linesSaid = 0;
  const stream: LineStream = {
    // Nobody else writes into it.
    pieceMax: OWN_FILE_PIECE_MAX,
    write(line: string): void {
      if (!rotated.write(line)) linesLost += line.split('\n').length - 1;
      else if (linesLost > linesSaid) {
        const lines = linesLost - linesSaid;
        linesSaid = linesLost;
        log.error({ lines }, 'lines of this log could not be written, and are lost');
      }
    },
  };
  const log: Logger = pino(options, stream);
  lost.set(log, () => linesLost);
  return log;
}

/** Characters that go together: as many bytes as a pipe takes in one piece (PIPE_BUF), where several processes write into one. */
const PIECE_MAX = 4_096;
const OWN_FILE_PIECE_MAX = 65_536;

/** Where the lines go, as pino keeps it. */
interface LineStream {
  write(text: string): void;
  readonly pieceMax?: number;
}

/** What a line of a batch says beside its message. Nothing in it is struck out: name only fields that hold no secret. */
export type LineFields = Readonly<Record<string, string | number | null | undefined>>;

/**
 * Writes a line for each order of a batch, many of them in one piece: as pino would write them one by one with `log.info`, for a tenth of the
 * time. Whether the level lets them through is the caller's to ask; the accepted-order log is written at any.
 */
export function writeLines(log: Logger, message: string, batch: readonly LineFields[]): void {
  if (batch.length === 0) return;
  const { [symbols.streamSym]: stream, [symbols.chindingsSym]: bindings } = log as unknown as {
    [symbols.streamSym]: LineStream;
    [symbols.chindingsSym]: string;
  };
  const begin = `{"level":"info","time":"${new Date().toISOString()}"${bindings},`;
  const end = `,"msg":${JSON.stringify(message)}}\n`;
  const { pieceMax = PIECE_MAX } = stream;
  let text = '';
  for (const fields of batch) {
    const line = begin + JSON.stringify(fields).slice(1, -1) + end;
    if (text.length + line.length > pieceMax) {
      stream.write(text);
      text = '';
    }
    text += line;
  }
  stream.write(text);
}
