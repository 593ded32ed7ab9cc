/** One way to write lines, for every process: JSON, with secrets struck out. */
import { type Logger, pino } from 'pino';

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

/** @param service name of the process, on every line */
export function createLogger(service: string, level: string): Logger {
  return pino({
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
  });
}
