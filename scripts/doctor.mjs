// npm run doctor: installs what is missing, then runs scripts/doctor.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/doctor.ts');
