/** What a private Redis and a private PostgreSQL have in common. */
import { mkdirSync, realpathSync } from 'node:fs';

export interface PrivateServerOptions {
  /** Holds data, secrets and logs. Made where it does not exist. */
  readonly folder: string;
  readonly say?: (line: string) => void;
  /** false: stays dead when it dies (a test that kills it on purpose). */
  readonly restart?: boolean;
  /** Told of each start, with the pid to remember. */
  readonly onStarted?: (pid: number) => void;
  /** Milliseconds a server that did not become ready has to stop. */
  readonly stopTimeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PrivateServer {
  /** Address with the password. */
  readonly url: string;
  readonly port: number;
  /** For people: "redis 7.0.15". */
  readonly what: string;
  /** Undefined while it is down. */
  readonly pid: number | undefined;
  /** Resolves when it cannot be started again; never rejects. */
  readonly gaveUp: Promise<Error>;
  stop(timeoutMs?: number): Promise<void>;
  /** SIGKILL, without waiting. */
  kill(): void;
}

/** The folder by its one true name: command lines are searched for it later. */
export function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return realpathSync(folder);
}
