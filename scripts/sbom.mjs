/** pnpm's own bill of materials, by the pinned pnpm: CycloneDX JSON on stdout, of what runs in production, from the lock file alone. */
import { runPinnedPnpm } from './pinned-pnpm.mjs';

const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--prod', '--lockfile-only'];
const { code, stdout, stderr } = runPinnedPnpm(args);
process.stdout.write(stdout);
process.stderr.write(stderr);
process.exitCode = code;
