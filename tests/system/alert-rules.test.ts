/** deploy/monitoring: promtool tests the alerts, and checks the configuration of Prometheus. */
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { expect, test } from 'vitest';
import { findPrometheus } from '../support/prometheus.ts';
import { root } from '../tidy/source-files.ts';

const monitoring = join(root, 'deploy/monitoring');

test('every alert fires when it must, and only then', async () => {
  const programs = await findPrometheus();
  const promtool = async (...args: string[]): Promise<string> => {
    const { failed, stdout, stderr } = await runCommand(programs.promtool, args, { cwd: join(monitoring, 'alerts') });
    return failed ? `${stdout}\n${stderr}` : '';
  };
  expect(await promtool('check', 'config', join(monitoring, 'prometheus.yml'))).toBe('');
  expect(await promtool('check', 'config', '--syntax-only', join(monitoring, 'prometheus.containers.yml'))).toBe('');
  expect(await promtool('test', 'rules', 'alerts.test.yml')).toBe('');
  // The programs may have to be fetched from a slow mirror.
}, 300_000);
