/** A real Prometheus with promtool, and the exporters. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { UnpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { root } from '../tidy/source-files.ts';
import type { AnyJson } from './any-json.ts';
import { findProgram, respondsAt, startProgram } from './program.ts';

export async function findPrometheus(): Promise<{ prometheus: UnpackedProgram; promtool: string }> {
  const prometheus = await findProgram('prometheus', { majorMin: 2 });
  return { prometheus, promtool: join(dirname(prometheus.path), 'promtool') };
}

/** Where Prometheus finds each job. */
export type MonitoringPorts = Record<'api' | 'worker' | 'redis' | 'postgres' | 'node', number>;

/** Starts the exporters of Redis, PostgreSQL and this machine. @returns how to stop them */
export async function startExporters(
  ports: Pick<MonitoringPorts, 'redis' | 'postgres' | 'node'>,
  { redisUrl, databaseUrl }: { redisUrl: string; databaseUrl: string },
): Promise<() => Promise<void>> {
  const start = async (name: string, port: number, args: string[] = [], env: Record<string, string> = {}) =>
    startProgram(await findProgram(name), [`--web.listen-address=127.0.0.1:${port}`, ...args], {
      env,
      answers: () => respondsAt(`http://127.0.0.1:${port}/metrics`),
    });
  const running = await Promise.all([
    start('prometheus-redis-exporter', ports.redis, [`--redis.addr=${redisUrl}`]),
    start('prometheus-postgres-exporter', ports.postgres, [], { DATA_SOURCE_NAME: `${databaseUrl}?sslmode=disable` }),
    start('prometheus-node-exporter', ports.node),
  ]);
  return async () => {
    await Promise.all(running.map(({ stop }) => stop()));
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
  /** @returns the samples of an instant query. @throws if it is refused */
  query(expression: string): Promise<AnyJson[]>;
  /** Every rule of every group, as the server sees it. */
  rules(): Promise<AnyJson[]>;
  stop(): Promise<void>;
}

/** @param folder holds prometheus.yml, and is written to */
export async function startPrometheus(program: UnpackedProgram, folder: string, port: number): Promise<Prometheus> {
  const base = `http://127.0.0.1:${port}`;
  const args = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--log.level=warn',
  ];
  const { stop } = await startProgram(program, args, { answers: () => respondsAt(`${base}/-/ready`) });
  async function ask(path: string): Promise<AnyJson> {
    const answer: AnyJson = await (await fetch(`${base}/api/v1/${path}`)).json();
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  }
  return {
    query: async (expression) => (await ask(`query?query=${encodeURIComponent(expression)}`)).result,
    rules: async () => (await ask('rules')).groups.flatMap((group: AnyJson) => group.rules),
    stop,
  };
}
