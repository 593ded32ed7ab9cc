/**
 * npm run load -- [scenario …] [--with k6|wrk] [--url http://…] [--units N] [--seconds N]
 *
 * Lets a crowd order from a fresh sale of a running system, then holds the sale's numbers against what the crowd was
 * answered. The exit code says whether they agree, and whether every refusal was a lawful one.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findOperator } from '@flash-sale/launcher/running-system.ts';
import { readSettings } from '@flash-sale/launcher/settings.ts';
import type { Crowd, CrowdTool } from './load/crowd.ts';
import { endCheck } from './load/end-check.ts';
import { k6 } from './load/k6-crowd.ts';
import { makeSale, type Operator, readSale, readSettledSale } from './load/operator.ts';
import { resultTable } from './load/result-table.ts';
import { readScenarios, type Scenario } from './load/scenarios.ts';
import { wrk } from './load/wrk-crowd.ts';
import { readArguments } from './read-arguments.ts';

const UNITS = 1_000;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tools: Record<string, CrowdTool> = { k6, wrk };
const scenarios = readScenarios(join(root, 'k6', 'scenarios.json'));
const usage = `Usage: npm run load -- [${[...scenarios.keys(), 'all'].join('|')}] [--with k6|wrk] [--url http://…] [--units N] [--seconds N]`;

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stopping.abort(new Error(`Stopped (${signal}).`)));
}

try {
  const { chosen, units, seconds, toolName, url } = chosenByArguments();
  const operator = operatorOf(url);
  const tool = await installedTool(toolName);
  let agreed = true;
  for (const scenario of chosen) agreed = (await run({ scenario, units, seconds, tool, operator })) && agreed;
  process.exitCode = agreed ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

function chosenByArguments() {
  const options = {
    with: { type: 'string' },
    url: { type: 'string' },
    units: { type: 'string' },
    seconds: { type: 'string' },
  } as const;
  const config = { options, allowPositionals: true } as const;
  const { values, positionals } = readArguments(import.meta.url, config, { wrongCode: 1, usage });
  const names =
    positionals.length === 0 ? ['spike'] : positionals.includes('all') ? [...scenarios.keys()] : positionals;
  const chosen = names.map((name) => {
    const found = scenarios.get(name);
    if (!found) throw new Error(`There is no scenario "${name}".\n${usage}`);
    return found;
  });
  if (values.with !== undefined && !tools[values.with]) throw new Error(`--with ${values.with}: k6 or wrk.\n${usage}`);
  return {
    chosen,
    units: wholeNumber('--units', values.units) ?? UNITS,
    seconds: wholeNumber('--seconds', values.seconds),
    toolName: values.with,
    url: values.url?.replace(/\/+$/, ''),
  };
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new Error(`${option} is "${text}". Expected: a whole number above 0.`);
  return Number(text);
}

/** Another machine is put under load only when its address was typed. */
function operatorOf(url: string | undefined): Operator {
  const { adminUrl, adminToken } = findOperator(root, process.env);
  const { environment } = readSettings(root, process.env);
  if (environment.AUTH === 'jwt' || environment.ADMIN_PORT > 0)
    throw new Error(
      'The crowd orders by X-User-ID, on the port that makes its sale. Start the system with AUTH=header and without ADMIN_PORT.',
    );
  const baseUrl = url ?? adminUrl;
  if (!URL.canParse(baseUrl)) throw new Error(`--url ${baseUrl} is no address. Expected: http://127.0.0.1:5001`);
  if (url === undefined && !LOOPBACK.test(new URL(baseUrl).hostname)) {
    throw new Error(`HOST leads to ${baseUrl}, which is not this machine's loopback. If you mean it: --url ${baseUrl}`);
  }
  return { baseUrl, token: adminToken };
}

/** The tool that was asked for; else k6, else wrk. */
async function installedTool(asked: string | undefined): Promise<CrowdTool> {
  const wanted = asked === undefined ? [k6, wrk] : [tools[asked] as CrowdTool];
  for (const tool of wanted) if (await tool.isInstalled()) return tool;
  throw new Error(
    [
      `${wanted.map(({ name }) => name).join(' or ')} is needed, and not on PATH.`,
      ...wanted.map(({ install }) => install),
    ].join('\n'),
  );
}

async function run(plan: {
  scenario: Scenario;
  units: number;
  seconds: number | undefined;
  tool: CrowdTool;
  operator: Operator;
}): Promise<boolean> {
  stopping.signal.throwIfAborted();
  const { units, tool, operator } = plan;
  const scenario: Scenario =
    plan.seconds === undefined ? plan.scenario : { ...plan.scenario, seconds: plan.seconds, orders: undefined };
  const saleId = await makeSale(operator, scenario.name, units);
  const before = await readSale(operator, saleId);
  const howLong = scenario.orders && tool.countsOrders ? `${scenario.orders} orders` : `${scenario.seconds} s`;
  process.stdout.write(
    `${scenario.name}: ${scenario.users} users, ${howLong}, by ${tool.name}, at ${operator.baseUrl}, sale ${saleId} …\n`,
  );
  const crowd: Crowd = await tool.run({ root, scenario, saleId, operator, signal: stopping.signal });
  const after = await readSettledSale(operator, saleId, stopping.signal);
  const outcome = endCheck({ before, after, crowd });
  process.stdout.write(resultTable({ before, after, crowd, outcome }));
  return outcome.every(({ holds }) => holds);
}
