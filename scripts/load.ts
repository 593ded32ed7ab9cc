/**
 * npm run load -- [scenario] [--with k6|wrk] [--url http://…] [--units N] [--seconds N]
 *
 * Runs a load test against a new sale of a running system, then compares the sale's numbers with
 * the replies. Exit code 0: they match, and every reply was expected; otherwise 1.
 */
import { join } from 'node:path';
import type { Operator } from '@flash-sale/launcher/operator-api.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { root, runScript, say } from './command.ts';
import { type Crowd, type CrowdTool, readScenarios, type Scenario } from './load/crowd.ts';
import {
  type Check,
  checkSale,
  createSale,
  readSale,
  readSettledSale,
  type SaleNumbers,
  unitsTaken,
} from './load/sale.ts';
import { tools } from './load/tools.ts';

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

const DEFAULT = 'spike';
const scenarios = readScenarios(join(root, 'k6', 'scenarios.json'));
const listed = [...scenarios].map(
  ([name, { users, seconds }]) =>
    `  ${name.padEnd(10)} ${users} users, ${seconds} s${name === DEFAULT ? ' (default)' : ''}`,
);
const help = ['Scenarios:', ...listed].join('\n');

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stopping.abort(new Error(`Stopped (${signal}).`)));
}

const options = {
  with: { type: 'string' },
  url: { type: 'string' },
  units: { type: 'string', default: '1000' },
  seconds: { type: 'string' },
} as const;

await runScript(import.meta.url, 1, { options, allowPositionals: true, help }, async ({ values, positionals }) => {
  const [name = DEFAULT, ...more] = positionals;
  const scenario = scenarios.get(name);
  if (!scenario || more.length > 0) throw new Error(`There is no scenario "${positionals.join(' ')}".\n${help}`);
  if (values.with !== undefined && !tools[values.with]) throw new Error(`--with ${values.with}: k6 or wrk.`);
  const seconds = values.seconds && { seconds: wholeNumber('--seconds', values.seconds), orders: undefined };
  const units = wholeNumber('--units', values.units);
  const operator = operatorOf(values.url?.replace(/\/+$/, ''));
  const tool = await installedTool(values.with);
  return (await run({ ...scenario, ...seconds }, units, tool, operator)) ? 0 : 1;
});

function wholeNumber(option: string, text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new Error(`${option} is "${text}". Expected: a whole number above 0.`);
  return Number(text);
}

/** Loopback by default; another machine only with --url. */
function operatorOf(url: string | undefined): Operator {
  const { adminUrl, environment } = findSystem(root, process.env, 'ADMIN_TOKEN');
  if (environment.AUTH === 'jwt' || environment.ADMIN_PORT > 0)
    throw new Error(
      "The load test needs X-User-ID, and the operators' routes on PORT. Rehearse on a staging system with AUTH=header and without ADMIN_PORT.",
    );
  const baseUrl = url ?? adminUrl;
  if (!URL.canParse(baseUrl)) throw new Error(`--url ${baseUrl} is not an address. Expected: http://127.0.0.1:5001`);
  if (url === undefined && !LOOPBACK.test(new URL(baseUrl).hostname)) {
    throw new Error(`HOST gives ${baseUrl}, which is not loopback. To use it anyway: --url ${baseUrl}`);
  }
  return { adminUrl: baseUrl, adminToken: environment.ADMIN_TOKEN };
}

/** The tool of --with; without it k6, else wrk. */
async function installedTool(asked: string | undefined): Promise<CrowdTool> {
  const wanted = asked === undefined ? Object.values(tools) : [tools[asked] as CrowdTool];
  for (const tool of wanted) if (await tool.isInstalled()) return tool;
  const names = wanted.map(({ name }) => name).join(' or ');
  throw new Error([`${names} is needed, but is not on PATH.`, ...wanted.map(({ install }) => install)].join('\n'));
}

/** @returns whether the sale's numbers and the replies match */
async function run(scenario: Scenario, units: number, tool: CrowdTool, operator: Operator): Promise<boolean> {
  const { adminUrl: baseUrl } = operator;
  const saleId = await createSale(operator, scenario.name, units);
  const before = await readSale(operator, saleId);
  say(`${scenario.name}: ${scenario.users} users, by ${tool.name}, at ${baseUrl}, sale ${saleId} …`);
  const crowd = await tool.run({ root, scenario, saleId, baseUrl, signal: stopping.signal });
  const after = await readSettledSale(operator, saleId, stopping.signal);
  const checks = checkSale(before, after, crowd);
  process.stdout.write(resultTable(before, after, crowd, checks));
  return checks.every(({ holds }) => holds);
}

function resultTable(before: SaleNumbers, after: SaleNumbers, crowd: Crowd, checks: readonly Check[]): string {
  const { p50, p95, p99, max } = crowd.latencyMs;
  const refusals = Object.entries(crowd.refused).sort(([, a], [, b]) => b - a);
  const rate = Math.round(crowd.requests / crowd.seconds);
  const rows: [string, string][] = [
    ['answered', `${crowd.requests} orders in ${crowd.seconds.toFixed(1)} s (${rate}/s)`],
    ['accepted', `${crowd.accepted}`],
    ['refused', refusals.map(([code, times]) => `${code} ${times}`).join(', ') || 'none'],
    ['latency ms', `p50 ${p50.toFixed(1)}, p95 ${p95.toFixed(1)}, p99 ${p99.toFixed(1)}, max ${max.toFixed(1)}`],
    ['units', `${before.available} available before, ${after.available} after, ${unitsTaken(before, after)} taken`],
    ['ledger', `${before.ledger.sold} sold before, ${after.ledger.sold} after`],
    ...checks.map(({ what, holds }): [string, string] => [holds ? 'ok' : 'FAILED', what]),
    ['outcome', checks.every(({ holds }) => holds) ? 'passed' : 'FAILED'],
  ];
  return `${rows.map(([name, text]) => `  ${name.padEnd(11)} ${text}\n`).join('')}\n`;
}
