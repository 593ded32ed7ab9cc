// npm run migrate: installs what is missing, then runs scripts/migrate.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/migrate.ts');
