/** The Kubernetes manifests of deploy/kubernetes, as `kubectl kustomize` renders them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { root } from '../tidy/source-files.ts';

const folder = join(root, 'deploy/kubernetes');

/** Folders of deploy/kubernetes/overlays. */
const OVERLAYS = ['production', 'sale-day', 'minimal', 'migrate'] as const;

/** Any Kubernetes object; the other fields depend on its kind. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  // biome-ignore lint/suspicious/noExplicitAny: hundreds of kinds of object; check-schema.ts validates each by its schema
  readonly [field: string]: any;
}

export interface Overlay {
  readonly name: (typeof OVERLAYS)[number];
  readonly manifests: readonly Manifest[];
}

/**
 * @returns every overlay, production first; null without kubectl
 * @throws if kubectl refuses one
 */
export async function renderOverlays(): Promise<readonly Overlay[] | null> {
  if ((await runCommand('kubectl', ['version', '--client'])).failed) return null;
  return Promise.all(OVERLAYS.map(async (name) => ({ name, manifests: await render(name) })));
}

async function render(overlay: string): Promise<Manifest[]> {
  const { failed, stdout, stderr } = await runCommand('kubectl', ['kustomize', join(folder, 'overlays', overlay)]);
  if (failed) throw new Error(`kubectl kustomize ${overlay}: ${stderr.trim()}`);
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
}

/**
 * The alerts of deploy/monitoring/alerts in the form that the Prometheus Operator takes; kustomize
 * cannot make it.
 */
export const rulesFile = join(folder, 'components/monitoring/prometheus-rules.yaml');

export function renderRules(): string {
  const groups = ['sale', 'dependencies'].flatMap(
    (name) => parse(readFileSync(join(root, 'deploy/monitoring/alerts', `${name}.yml`), 'utf8')).groups,
  );
  const rules = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'flash-sale' },
    spec: { groups },
  };
  const how = 'npm test -- tests/kubernetes/schema.test.ts -u';
  return `# Generated from deploy/monitoring/alerts: ${how}\n${stringify(rules, { lineWidth: 0 })}`;
}
