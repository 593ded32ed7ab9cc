/** Runs once: makes the database that each file's is cloned from, and compiles the services. */

import type { TestProject } from 'vitest/node';
import { warmCompileCache } from './running-system.ts';
import { makeTemplate } from './world.ts';

declare module 'vitest' {
  interface ProvidedContext {
    template: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [template] = await Promise.all([makeTemplate(), warmCompileCache()]);
  project.provide('template', template.name);
  return template.drop;
}
