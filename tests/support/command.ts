/** Commands as an operator types them. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { root } from '../tidy/source-files.ts';

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs scripts/<name>.ts with these variables and PATH only. */
export function runScript(name: string, args: readonly string[], variables: NodeJS.ProcessEnv): Promise<Said> {
  const env = { PATH: process.env.PATH, ...variables };
  const command = [join(root, 'scripts', `${name}.ts`), ...args];
  return new Promise((resolve) =>
    execFile(process.execPath, command, { env, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      // Killed by a signal: it has no code.
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    ),
  );
}

export const addressesOf = (world: { redisUrl: string; databaseUrl: string; prefix: string }) => ({
  REDIS_URL: world.redisUrl,
  DATABASE_URL: world.databaseUrl,
  KEY_PREFIX: world.prefix,
});
