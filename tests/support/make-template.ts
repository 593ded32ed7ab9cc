/** Runs once before all test files: the database that each file's own is cloned from. */

import type { TestProject } from 'vitest/node';
import { makeTemplate } from './world.ts';

declare module 'vitest' {
  interface ProvidedContext {
    template: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const template = await makeTemplate();
  project.provide('template', template.name);
  return template.drop;
}
