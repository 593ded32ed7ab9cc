/** The Kubernetes manifests: what is rendered from them, and what in them is made from other files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { parse, parseAllDocuments, stringify } from 'yaml';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'deploy', 'kubernetes');

/** Folders of deploy/kubernetes/overlays. Each is kept as it is rendered, so that it can be checked and read without kubectl. */
export const OVERLAYS = ['production', 'sale-day', 'minimal', 'migrate'] as const;
export type Overlay = (typeof OVERLAYS)[number];

/** Anything that a cluster is given; what is in it depends on its kind. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  // biome-ignore lint/suspicious/noExplicitAny: of hundreds of kinds of object; check-schema.ts judges each by the schema of its kind
  readonly [field: string]: any;
}

export const renderedFile = (overlay: Overlay): string => join(folder, 'rendered', `${overlay}.yaml`);
export const rulesFile = join(folder, 'components', 'monitoring', 'prometheus-rules.yaml');

/** @throws where it is no YAML */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0]) throw document.errors[0];
    return document.toJS() as Manifest;
  });
}

/** @returns what kubectl makes of the overlay, or null where there is no kubectl. @throws with its words where it refuses */
export async function renderOverlay(overlay: Overlay): Promise<string | null> {
  const { code, stdout, stderr } = await runCommand('kubectl', ['kustomize', join(folder, 'overlays', overlay)]);
  if (code === 127) return null;
  if (code !== 0) throw new Error(`kubectl kustomize ${overlay}: ${stderr.trim()}`);
  return stdout;
}

/** The alerts of monitoring/alerts in the form that the Prometheus Operator takes. */
export function renderRules(): string {
  const groups = ['sale', 'parts'].flatMap(
    (name) => parse(readFileSync(join(root, 'monitoring', 'alerts', `${name}.yml`), 'utf8')).groups,
  );
  const rules = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'flash-sale' },
    spec: { groups },
  };
  return `# Made from monitoring/alerts by npm run render:kubernetes.\n${stringify(rules, { lineWidth: 0 })}`;
}
