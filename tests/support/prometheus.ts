/** A real Prometheus with promtool, and real exporters: on PATH, or from Debian's packages without installing anything. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { unpackDebianProgram, unpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from '../tidy/source-files.ts';
import type { AnyJson } from './any-json.ts';
import { eventually } from './world.ts';

/** @param name of Debian's package and of its program. @throws with a sentence that says how to get it */
async function findProgram(name: string, majorMin: number): Promise<string> {
  if ((await runCommand(name, ['--version'])).code === 0) return name;
  // Written in Go: of what its package depends on, the program needs the C library only.
  const program = { called: name, names: [name], majorMin, carriesCode: new RegExp(`^${name}$`) };
  const folder = join(root, '.data', `${name}-dist`);
  mkdirSync(dirname(folder), { recursive: true });
  const found = unpackedProgram(folder, program) ?? (await unpackDebianProgram({ program, folder }));
  if (typeof found === 'string')
    throw new Error(
      `The monitoring is tested with ${name}, which is not on PATH. Install it ("apt-get install ${name}") and type ` +
        `"npm test" again. (Debian's package could not be fetched: ${found}.)`,
    );
  return found.path;
}

/** @throws with a sentence that says how to get it */
export async function findPrometheus(): Promise<{ prometheus: string; promtool: string }> {
  const prometheus = await findProgram('prometheus', 2);
  return { prometheus, promtool: join(dirname(prometheus), 'promtool') };
}

/** Where Prometheus finds each job. */
export type MonitoringPorts = Record<'api' | 'worker' | 'redis' | 'postgres' | 'node', number>;

/** Starts the exporters of Redis, PostgreSQL and this machine. @returns how to stop them */
export async function startExporters(
  ports: Pick<MonitoringPorts, 'redis' | 'postgres' | 'node'>,
  { redisUrl, databaseUrl }: { redisUrl: string; databaseUrl: string },
): Promise<() => void> {
  const listen = (port: number): string => `--web.listen-address=127.0.0.1:${port}`;
  const children = [
    spawn(await findProgram('prometheus-redis-exporter', 1), [listen(ports.redis), `--redis.addr=${redisUrl}`], {
      stdio: 'ignore',
    }),
    spawn(await findProgram('prometheus-postgres-exporter', 0), [listen(ports.postgres)], {
      env: { DATA_SOURCE_NAME: `${databaseUrl}?sslmode=disable` },
      stdio: 'ignore',
    }),
    spawn(await findProgram('prometheus-node-exporter', 1), [listen(ports.node)], { stdio: 'ignore' }),
  ];
  return () => {
    for (const child of children) child.kill('SIGKILL');
  };
}

const monitoring = join(root, 'deploy/monitoring');
/** Of deploy/monitoring/alerts. */
const RULE_FILES = ['sale', 'dependencies'];

/**
 * A copy of deploy/monitoring with other addresses and intervals, and rules changed by `change`.
 *
 * @param everyS seconds between two scrapes, and their timeout
 * @returns a new folder, for startPrometheus
 */
export function copyMonitoring(ports: MonitoringPorts, everyS: number, change: (rules: string) => string): string {
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  mkdirSync(join(folder, 'alerts'));
  for (const name of RULE_FILES) {
    const file = join('alerts', `${name}.yml`);
    writeFileSync(join(folder, file), change(readFileSync(join(monitoring, file), 'utf8')));
  }
  const config = readFileSync(join(monitoring, 'prometheus.yml'), 'utf8');
  writeFileSync(
    join(folder, 'prometheus.yml'),
    config
      .replace('scrape_interval: 5s', `scrape_interval: ${everyS}s\n  scrape_timeout: ${everyS}s`)
      .replace('evaluation_interval: 5s', 'evaluation_interval: 1s')
      .replace('127.0.0.1:9101', `127.0.0.1:${ports.api}`)
      .replace('127.0.0.1:9102', `127.0.0.1:${ports.worker}`)
      .replace('127.0.0.1:9121', `127.0.0.1:${ports.redis}`)
      .replace('127.0.0.1:9187', `127.0.0.1:${ports.postgres}`)
      .replace('127.0.0.1:9100', `127.0.0.1:${ports.node}`),
  );
  return folder;
}

export interface Prometheus {
  /** @returns the samples of an instant query, now. @throws where it cannot be read or carried out */
  query(expression: string): Promise<AnyJson[]>;
  /** Every rule of every group, as the server sees it. */
  rules(): Promise<AnyJson[]>;
  /** What is pending or firing now. */
  alerts(): Promise<AnyJson[]>;
  stop(): Promise<void>;
}

/** @param folder holds prometheus.yml, and is written to */
export async function startPrometheus(program: string, folder: string, port: number): Promise<Prometheus> {
  const base = `http://127.0.0.1:${port}`;
  const child = spawn(
    program,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  child.stderr?.on('data', (chunk) => (output += chunk));
  const gone = once(child, 'exit');
  await eventually('Prometheus is ready', 30_000, async () => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended (${child.exitCode}):\n${output}`);
    return fetch(`${base}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  });
  async function ask(path: string): Promise<AnyJson> {
    const answer: AnyJson = await (await fetch(`${base}/api/v1/${path}`)).json();
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  }
  return {
    query: async (expression) => (await ask(`query?query=${encodeURIComponent(expression)}`)).result,
    rules: async () => (await ask('rules')).groups.flatMap((group: AnyJson) => group.rules),
    alerts: async () => (await ask('alerts')).alerts,
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}
