/**
 * Writes what of the manifests is made from other files: the alerts for the Prometheus Operator, and each overlay as it is rendered. After a
 * change in deploy/kubernetes or monitoring/alerts. Needs kubectl; no cluster.
 *
 *   npm run render:kubernetes
 */
import { writeFileSync } from 'node:fs';
import { OVERLAYS, renderedFile, renderOverlay, renderRules, rulesFile } from './kubernetes/manifests.ts';
import { readArguments } from './read-arguments.ts';

readArguments(import.meta.url, { options: {} });

writeFileSync(rulesFile, renderRules());
for (const overlay of OVERLAYS) {
  const rendered = await renderOverlay(overlay);
  if (rendered === null) {
    console.error(
      'There is no kubectl on PATH. Install it (any version from 1.30 on), and type "npm run render:kubernetes" again.',
    );
    process.exit(1);
  }
  writeFileSync(renderedFile(overlay), `# Made by npm run render:kubernetes from overlays/${overlay}.\n${rendered}`);
  console.log(`deploy/kubernetes/rendered/${overlay}.yaml`);
}
