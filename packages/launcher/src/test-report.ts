/** The numbers of a test run, from vitest's JSON report. */

export interface TestCounts {
  readonly passed: number;
  /** Tests that failed, and files that could not be loaded. */
  readonly failed: number;
}

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export function countTests(report: Report): TestCounts {
  // A file that fails without a failed test of its own failed to load, or in its beforeAll or afterAll.
  const files = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
  );
  return { passed: report.numPassedTests, failed: report.numFailedTests + files.length };
}
