/**
 * npm test -- [path …] [option of vitest …]
 *
 * Runs every test, or those whose path contains one of the given, against a real Redis and
 * PostgreSQL. `npm run test:long` runs the tests of tests/long instead. `npm run generate` runs two
 * test files and rewrites what they compare: docs/openapi.json, docs/openapi.d.ts, .env.example and
 * the settings in docs/reference.md.
 *
 * 1. Use REDIS_URL and DATABASE_URL if they are set, otherwise private servers in a temporary
 *    folder.
 * 2. Run vitest with the given arguments.
 * 3. Print which tests failed and why, in a line each: of a long log, often only the end is kept.
 * 4. Print `N passed, N failed` as the last line, or that the run was interrupted. Exit code 0: at
 *    least one passed and none failed.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { ownFolder, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { listenForStop } from '@flash-sale/launcher/stop-requests.ts';
import { readArguments, root, say } from './command.ts';

/** Milliseconds that vitest has to stop its workers after a stop request. */
const VITEST_STOPS_WITHIN_MS = 5_000;

readArguments(import.meta.url, 1, { strict: false });
const folder = ownFolder(mkdtempSync(join(tmpdir(), 'flash-sale-test-')));
// If the tests run as root, PostgreSQL runs under another account, which needs access. Secrets are
// in a private folder.
chmodSync(folder, 0o711);
const stopping = new AbortController();
const servers: PrivateServer[] = [];
let vitest: ReturnType<typeof runCommand> | undefined;

listenForStop(process, {
  onStop: (reason) => stopping.abort(new Error(`The run was interrupted (${reason}): there is no result.`)),
  onForce: () => {
    vitest?.kill('SIGKILL');
    for (const server of servers) server.kill();
    rmSync(folder, { recursive: true, force: true });
    say((stopping.signal.reason as Error).message);
    process.exit(1);
  },
});

let exitCode = 1;
let counts = { passed: 0, failed: 0 };
try {
  const env = await serversFor(process.env);
  const report = join(folder, 'report.json');
  const vitestCode = await runVitest(report, env);
  stopping.signal.throwIfAborted();
  const results: Report = JSON.parse(readFileSync(report, 'utf8'));
  counts = { passed: results.numPassedTests, failed: results.numFailedTests };
  for (const line of listFailures(results)) process.stderr.write(`${line}\n`);
  if (vitestCode !== 0 && counts.failed === 0 && counts.passed > 0) {
    process.stderr.write(
      'No test failed, but a file could not be loaded or an error was raised outside of the tests (see above). The run counts as failed.\n',
    );
    counts = { ...counts, failed: 1 };
  }
  if (counts.passed + counts.failed === 0) process.stderr.write('No test ran.\n');
  exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
} catch (error) {
  if (!stopping.signal.aborted) process.stderr.write(`${(error as Error).message}\n`);
} finally {
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(folder, { recursive: true, force: true });
}
const { aborted, reason } = stopping.signal;
say(aborted ? (reason as Error).message : `${counts.passed} passed, ${counts.failed} failed`);
process.exit(exitCode);

/** @returns the environment for vitest: TEST_REDIS_URL, and TEST_DATABASE_URL with CREATEDB */
async function serversFor(given: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  const start = async (starting: Promise<PrivateServer>) => {
    const server = await starting;
    servers.push(server);
    return server.url;
  };
  const options = { folder, signal: stopping.signal, say };
  const distFolder = join(ownFolder(join(root, '.data')), 'redis-dist');
  const starting = [
    given.REDIS_URL || start(startPrivateRedis({ ...options, distFolder, config: ['databases 64'] })),
    given.DATABASE_URL || start(startPrivatePostgres({ ...options, durable: false })),
  ];
  // Wait for both, so that every server that was started is stopped.
  await Promise.allSettled(starting);
  stopping.signal.throwIfAborted();
  const [redisUrl, databaseUrl] = await Promise.all(starting);
  // The tests must not use the servers of a running system.
  const { REDIS_URL: _redis, DATABASE_URL: _database, ...env } = given;
  return { ...env, TEST_REDIS_URL: redisUrl, TEST_DATABASE_URL: databaseUrl, TEST_REDIS_DIST: distFolder };
}

/** What vitest's JSON reporter writes. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: 'passed' | 'failed';
    /** Why the file failed outside of its tests, or empty. */
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

function listFailures({ testResults }: Report): string[] {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed');
    const reasons = failed.map((test) => `${test.fullName}: ${test.failureMessages[0] ?? 'no message'}`);
    if (status === 'failed' && failed.length === 0) reasons.push(message);
    return reasons.map((reason) => `FAILED ${relative(root, name)}: ${stripVTControlCharacters(reason).slice(0, 600)}`);
  });
}

/** @returns the exit code of vitest */
async function runVitest(report: string, env: NodeJS.ProcessEnv): Promise<number> {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const args = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...reporters, ...process.argv.slice(2)];
  vitest = runCommand(process.execPath, args, {
    cwd: root,
    env,
    extendEnv: false,
    stdout: 'inherit',
    stderr: 'inherit',
    timeout: 0,
    cancelSignal: stopping.signal,
    forceKillAfterDelay: VITEST_STOPS_WITHIN_MS,
  });
  const { exitCode = 1 } = await vitest;
  return exitCode;
}
