/**
 * Checks manifests against the schemas of Kubernetes, KEDA and the Prometheus Operator, from the
 * packages kubernetes-models, twice:
 *   1. The compiler, by their types: an unknown or missing field, or one of another type.
 *   2. Their validators: formats, patterns, bounds and enums.
 * Needs no cluster and no network.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from '../tidy/source-files.ts';
import type { Manifest } from './manifests.ts';

const packages: Record<string, string> = {
  'keda.sh': '@kubernetes-models/keda',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
};

function moduleOf({ apiVersion, kind }: Manifest): string {
  const group = apiVersion.includes('/') ? (apiVersion.split('/')[0] as string) : '';
  return `${packages[group] ?? 'kubernetes-models'}/${apiVersion}/${kind}`;
}

/** @returns a line for each fault, which names kind, name and field; none: all fit */
export async function checkSchema(manifests: readonly Manifest[]): Promise<string[]> {
  const faults: string[] = [];
  const known: Manifest[] = [];
  for (const manifest of manifests) {
    const { apiVersion, kind, metadata } = manifest;
    const model = await import(moduleOf(manifest)).catch(() => null);
    if (model === null) {
      faults.push(`${kind} ${metadata?.name}: there is no ${kind} in ${apiVersion}`);
      continue;
    }
    known.push(manifest);
    try {
      new model[kind](manifest).validate();
    } catch (error) {
      faults.push(`${kind} ${metadata?.name}: ${(error as Error).message}`);
    }
  }
  return known.length === 0 ? faults : [...faults, ...(await compile(known))];
}

/** Each manifest is a literal of its type, so that the compiler rejects fields that it lacks. */
async function compile(manifests: readonly Manifest[]): Promise<string[]> {
  mkdirSync(join(root, '.data'), { recursive: true });
  // Below the root, from where the packages are found.
  const folder = mkdtempSync(join(root, '.data', 'manifests-'));
  try {
    for (const [i, manifest] of manifests.entries()) {
      const type = `import type { I${manifest.kind} as T } from '${moduleOf(manifest)}';`;
      writeFileSync(join(folder, `${i}.ts`), `${type}\nexport const it: T = ${JSON.stringify(manifest, null, 1)};\n`);
    }
    const settings = { extends: '../../tsconfig.json', compilerOptions: { types: [] }, include: ['*.ts'] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
    const { failed, stdout } = await runCommand(join(root, 'node_modules', '.bin', 'tsc'), [
      '-p',
      folder,
      '--pretty',
      'false',
    ]);
    const lines = [...stdout.matchAll(/^\S*?(\d+)\.ts\(\d+,\d+\): error \w+: (.+)$/gm)].map(([, i, words]) => {
      const { kind, metadata } = manifests[Number(i)] as Manifest;
      // Fields stand in quotes in the literal, and so the compiler puts them in two pairs.
      return `${kind} ${metadata.name}: ${words?.replaceAll(/'"(\w+)"'/g, "'$1'")}`;
    });
    if (failed && lines.length === 0) throw new Error(`the compiler could not look at the manifests:\n${stdout}`);
    return lines;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
