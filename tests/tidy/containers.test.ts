/** compose.yaml and Dockerfile: limits, hardening, and that the files they name exist. */
import { existsSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { readIdentity } from '@flash-sale/core/config/identity.ts';
import { API_SECRETS, SettingsSchema } from '@flash-sale/core/config/settings.ts';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { AnyJson } from '../support/any-json.ts';
import { root } from './source-files.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const readYaml = (path: string): AnyJson => parse(read(path), { merge: true });

const compose = readYaml('compose.yaml');
const services: [string, AnyJson][] = Object.entries(compose.services);
/** Services that exit by themselves. */
const ONCE = ['migrate', 'k6'];

/** Targets of the Dockerfile with the last USER of each. */
const targets = new Map(
  read('Dockerfile')
    .split(/^FROM /m)
    .slice(1)
    .map((stage) => [/ AS (\S+)/.exec(stage)?.[1] as string, /^USER (\S+)/m.exec(stage)?.[1]] as const),
);

test.each(services)('%s is not root, cannot write its root file system, and has limits', (_name, service) => {
  expect(String(service.user)).toMatch(/^(?!root\b|0\b).+/);
  expect(service.read_only).toBe(true);
  expect(service.cap_drop).toEqual(['ALL']);
  expect(service.security_opt).toContain('no-new-privileges:true');
  expect(service).toMatchObject({
    mem_limit: expect.stringMatching(/^\$\{[A-Z0-9_]+_MEMORY:-\d+[mg]\}$/),
    cpus: expect.stringMatching(/^\$\{[A-Z0-9_]+_CPUS:-[\d.]+\}$/),
    pids_limit: expect.any(Number),
    logging: { options: { 'max-size': expect.any(String) } },
  });
});

test.each(services)('%s is restarted, or exits by itself; it has a health check', (name, service) => {
  expect(service.restart).toBe(ONCE.includes(name) ? 'no' : 'unless-stopped');
  const target = service.build?.target;
  const ofImage =
    read('Dockerfile')
      .split(new RegExp(` AS ${target}$`, 'm'))[1]
      ?.split(/^FROM /m)[0] ?? '';
  const looked = service.healthcheck?.test !== undefined || /^HEALTHCHECK /m.test(ofImage);
  if (!ONCE.includes(name)) expect(looked).toBe(true);
});

test('an image is pinned by a variable with a default, or built from a target that ends as an account of its own', () => {
  for (const [name, { image, build, user }] of services) {
    if (build) expect([name, targets.get(build.target)]).toEqual([name, user]);
    else expect([name, image]).toEqual([name, expect.stringMatching(/:\$\{[A-Z0-9_]+_VERSION:-v?\d[\d.]*\}/)]);
  }
});

test('every script of the image has all that it imports', () => {
  const sent = read('.dockerignore')
    .split('\n')
    .flatMap((line) => /^!(.+)$/.exec(line)?.[1] ?? []);
  const isSent = (path: string): boolean => sent.includes(path) || /^packages\/(?!launcher\/src\/)/.test(path);
  const inImage = sent.filter((path) => /^scripts\/.+\.ts$/.test(path));
  expect(inImage.length).toBeGreaterThan(5);
  const seen = new Set<string>();
  const follow = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const [, from = ''] of read(path).matchAll(
      /^(?:import|export) (?!type )[^;]*?from '(\.[^']+|@flash-sale\/[^']+)';/gms,
    )) {
      const next = from.startsWith('.')
        ? posix.join(posix.dirname(path), from)
        : from.replace(/^@flash-sale\/(\w+)/, 'packages/$1/src');
      expect(isSent(next), `${path} imports ${next}`).toBe(true);
      follow(next);
    }
  };
  inImage.forEach(follow);
  expect([...seen]).toContain('packages/core/src/config/limits.ts');
});

test('what docs/operations.md builds are targets of the Dockerfile', () => {
  const names = /for name in ([\w ]+); do docker build/.exec(read('docs/operations.md'))?.[1]?.split(' ') ?? [];
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) expect([...targets.keys()]).toContain(name);
});

test('only the proxy is open beyond this machine, and only if HOST says so', () => {
  const published = services.flatMap(([name, { ports = [] }]) => ports.map((port: string) => `${name} ${port}`));
  const beyond = published.filter((one) => !/^\w+ 127\.0\.0\.1:/.test(one));
  // biome-ignore lint/suspicious/noTemplateCurlyInString: compose fills these in; the file is compared as it stands
  expect(beyond).toEqual(['proxy ${HOST:-127.0.0.1}:${PORT:-5001}:5001']);
  for (const name of ['redis', 'postgres']) expect(compose.services[name].networks).toEqual(['servers']);
  expect(compose.networks.servers.internal).toBe(true);
  // On the host's network it listens on the containers' bridge only.
  const onHost = services.filter(([, { network_mode: mode }]) => mode === 'host');
  expect(onHost.map(([name, { command }]) => [name, command.at(-1)])).toEqual([
    ['node-exporter', '--web.listen-address=172.17.0.1:9100'],
  ]);
  expect(compose.services.proxy.networks).not.toContain('servers');
});

test("Redis keeps below its container's memory, and what data there is lies in volumes", () => {
  const bytes = (text: string): number => {
    const [, number, unit] = /:-(\d+)([mg])b?\}/.exec(text) as unknown as [string, string, 'm' | 'g'];
    return Number(number) * (unit === 'g' ? 2 ** 30 : 2 ** 20);
  };
  const { environment, mem_limit: limit, volumes } = compose.services.redis;
  expect(bytes(environment.REDIS_MAXMEMORY) * 1.5).toBeLessThanOrEqual(bytes(limit));
  expect(read('deploy/docker/start-redis.sh')).toMatch(/^maxmemory-policy noeviction$/m);
  expect(volumes).toContain('redis:/data');
  expect(compose.services.postgres.volumes).toContain('postgres:/var/lib/postgresql');
});

test('mounted and copied files exist', () => {
  const mounted = services.flatMap(([, { volumes = [] }]) => volumes.map((volume: string) => volume.split(':')[0]));
  const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
    (line) => line[1]?.split(' ') ?? [],
  );
  const missing = [...mounted.filter((path) => path.startsWith('./')), ...copied].filter(
    (path) => !existsSync(join(root, path)),
  );
  expect(missing).toEqual([]);
});

/** Secrets of .env that compose.yaml itself uses, for its servers. */
const COMPOSE_SECRETS = ['REDIS_PASSWORD', 'POSTGRES_PASSWORD', 'GRAFANA_PASSWORD'];
const SECRETS_OF: Record<string, readonly string[]> = { api: API_SECRETS };

test.each(services.filter(([, { env_file: file }]) => file))(
  '%s, which gets all of .env, gets only its own secrets',
  (name, { environment }) => {
    const own = SECRETS_OF[name] ?? [];
    const others = API_SECRETS.filter((secret) => !own.includes(secret));
    for (const secret of [...COMPOSE_SECRETS, ...others.flatMap((one) => [one, `${one}_FILE`])])
      expect(environment, secret).toHaveProperty([secret], '');
  },
);

test('compose.yaml is the trial, compose.production.yaml is production; the proxy needs only the API', () => {
  const over = readYaml('compose.production.yaml').services;
  const ofImage = services.filter(([name, { build }]) => build && name !== 'proxy');
  expect(ofImage.map(([name]) => name).sort()).toEqual(Object.keys(over).sort());
  for (const [name, { environment }] of ofImage) {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: compose fills it in
    expect(environment.NODE_ENV).toBe('${NODE_ENV:-development}');
    expect(over[name].environment.NODE_ENV).toBe('production');
  }
  expect(compose.services.migrate).toMatchObject({
    command: expect.arrayContaining(['--demo-sales']),
    // biome-ignore lint/suspicious/noTemplateCurlyInString: compose fills it in
    environment: { DEMO_SALES: '${DEMO_SALES:-}' },
  });
  expect(over.api.environment.AUTH).toMatch(/^\$\{AUTH:\?/);
  // Orders are accepted without a worker.
  expect(compose.services.proxy.depends_on).toEqual({ api: { condition: 'service_healthy' } });
});

test.each(services.filter(([, { env_file: file }]) => file))(
  '%s starts with AUTH=jwt in the shell and the JWT_* settings in .env',
  (_name, { environment }) => {
    const shell: Record<string, string> = { AUTH: 'jwt', JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'shop' };
    const env: Record<string, string> = { ...shell, JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E', AUTH: '' };
    for (const [name, value] of Object.entries(environment))
      env[name] = String(value).replace(/\$\{(\w+):-([^}]*)\}/g, (_, of, unset) => shell[of] || unset);
    const settings = readEnvironment(env);
    if (settings.AUTH === 'jwt') expect(readIdentity(settings)).toMatchObject({ kind: 'jwt' });
  },
);

/** Variables that the image's own program reads. */
const READ_BY_IMAGE = ['DATA_SOURCE_PASS_FILE'];

/** The script or the command that starts a container of a foreign image. */
function startOf(name: string): string {
  const script = `deploy/docker/start-${name}.sh`;
  return existsSync(join(root, script)) ? read(script) : String(compose.services[name].command);
}

test('compose.secrets.yaml gives every secret as a file that the process can read', () => {
  const over = readYaml('compose.secrets.yaml');
  for (const [name, { environment, secrets }] of Object.entries<AnyJson>(over.services)) {
    const files = Object.entries<string>(environment).filter(([, path]) => path !== '');
    expect(files.map(([, path]) => path.replace('/run/secrets/', '')).sort()).toEqual([...secrets].sort());
    for (const [variable] of files) {
      if (compose.services[name].build)
        expect(SettingsSchema.properties).toHaveProperty(variable.replace(/_FILE$/, ''));
      else if (!READ_BY_IMAGE.includes(variable)) expect(startOf(name)).toContain(variable);
    }
    for (const secret of secrets) expect(Object.keys(over.secrets)).toContain(secret);
  }
});
