/** What a run found, as one object and as a short table. */

export function toResult({ metrics, root_group: root, state }, { scenario, saleId }) {
  const count = (metric) => metrics[metric]?.values.count || 0;
  const gauge = (metric) => metrics[metric]?.values.value;
  const latency = metrics['http_req_duration{name:order}']?.values || {};
  const refused = {};
  for (const metric of Object.keys(metrics)) {
    if (metric.startsWith('refused_') && count(metric) > 0) refused[metric.slice('refused_'.length)] = count(metric);
  }
  return {
    scenario,
    saleId,
    seconds: state.testRunDurationMs / 1000,
    requests: count('iterations'),
    accepted: count('accepted'),
    refused,
    serverFaults: count('server_faults'),
    unexpected: count('unexpected_replies'),
    latencyMs: { p50: latency.med, p95: latency['p(95)'], p99: latency['p(99)'], max: latency.max },
    units: {
      before: gauge('units_available_before'),
      after: gauge('units_available_after'),
      reserved: gauge('units_reserved_after'),
      taken: gauge('units_taken'),
      ledgerRisen: gauge('units_ledger_risen'),
    },
    failures: [
      ...(metrics.units_taken ? [] : ['the end check did not run: see the error of k6']),
      ...failedThresholds(metrics),
      ...failedChecks(root),
    ],
  };
}

function failedThresholds(metrics) {
  return Object.entries(metrics).flatMap(([metric, { thresholds = {} }]) =>
    Object.entries(thresholds).flatMap(([bound, { ok }]) => (ok ? [] : [`${metric}: not ${bound}`])),
  );
}

function failedChecks(group) {
  const own = (group.checks || []).flatMap(({ name, fails }) => (fails === 0 ? [] : [`end check: not so: ${name}`]));
  return [...own, ...(group.groups || []).flatMap(failedChecks)];
}

export function summaryText(result) {
  const { units, latencyMs, refused } = result;
  const shown = (value) => (value === undefined ? '-' : value);
  const ms = (value) => (value === undefined ? '-' : value.toFixed(1));
  const refusals = Object.entries(refused).map(([code, times]) => `${code} ${times}`);
  const lines = [
    '',
    `${result.scenario}: sale ${shown(result.saleId)}, ${result.requests} orders`,
    `  accepted    ${result.accepted}`,
    `  refused     ${refusals.join(', ') || 'none'}`,
    `  unexpected  ${result.unexpected}, of these ${result.serverFaults} server faults`,
    `  latency ms  p50 ${ms(latencyMs.p50)}  p95 ${ms(latencyMs.p95)}  p99 ${ms(latencyMs.p99)}  max ${ms(latencyMs.max)}`,
    `  units       before ${shown(units.before)}  after ${shown(units.after)}  taken ${shown(units.taken)}  still reserved ${shown(units.reserved)}`,
    `  ledger      sold ${shown(units.ledgerRisen)} more`,
    ...result.failures.map((failure) => `  FAILED      ${failure}`),
    `  outcome     ${result.failures.length === 0 ? 'passed' : 'failed'}`,
    '',
  ];
  return `${lines.join('\n')}\n`;
}
