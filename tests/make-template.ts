/** Runs once before all test files: the database that each file's own is cloned from. */
import { makeTemplate } from '@flash-sale/core/testing/world.ts';
import type { TestProject } from 'vitest/node';

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
