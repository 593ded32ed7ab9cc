/** Ways to what is the operator's, or to a file, by a path that is spelled in another way. */
import { type Family, mustHold, onlyThese, tally } from './attack.ts';
import { request, sayRaw, statusesOf } from './raw-connection.ts';

/** Spellings of one path, for `/a/b`. */
function spellingsOf(path: string): string[] {
  const [, first = '', ...rest] = path.split('/');
  const tail = rest.join('/');
  const hex = (text: string): string => [...text].map((one) => `%${one.charCodeAt(0).toString(16)}`).join('');
  return [
    path.toUpperCase(),
    `${path}/`,
    `${path}//`,
    `/${path}`,
    `//a${path}`,
    `/.${path}`,
    `/x/..${path}`,
    `/health/../..${path}`,
    `/health/..;${path}`,
    `${path};a=b`,
    `${path}%00`,
    `${path}%20`,
    `${path}%2f`,
    `${path}.json`,
    `${path}?`,
    `${path}#`,
    `/${hex(first)}/${tail}`,
    `/${first}%2f${tail}`,
    `/${first}%252f${tail}`,
    `/${first}%5c${tail}`,
    `/${first}\\${tail}`,
    `/${first}/%2e/${tail}`,
    `/${first}/x/%2e%2e/${tail}`,
    `/${first}/x/%252e%252e/${tail}`,
    `/${first}/${hex(hex(tail)).slice(0, 2_000)}`,
    `/${first}%c0%af${tail}`,
    `/${first}%ef%bc%8f${tail}`,
    `http://127.0.0.1${path}`,
    `http://evil.example${path}`,
    `*${path}`,
  ];
}

const FILES = ['package.json', '.env', 'etc/passwd', 'proc/self/environ'];
const UP = ['../', '..%2f', '%2e%2e/', '%2e%2e%2f', '..%5c', '%252e%252e%252f', '..%c0%af', '....//', '..;/'];

export const paths: Family = {
  name: 'Paths',
  attacks: [
    {
      name: 'the operator’s routes, the board and the metrics by other spellings, at the buyers’ door',
      bound: '5 paths × 30 spellings × 3 doors',
      holds: 'never 2xx without the token: 400, 401, 404; at the door that has none of them, 404 only',
      async run({ doors }) {
        const told: (string | number)[] = [];
        for (const path of [
          '/api/admin/sales',
          '/api/admin/orders/x',
          '/admin/queues',
          '/admin/queues/api/queues',
          '/metrics',
        ]) {
          for (const { port, name } of Object.values(doors)) {
            for (const spelling of spellingsOf(path)) {
              const said = await sayRaw(
                port,
                request(`GET ${spelling}`, ['X-User-ID: ann', 'Connection: close']),
                2_000,
              );
              const status = statusesOf(said)[0] ?? 'cut';
              mustHold(
                [400, 401, 404, 'cut'].includes(status) && !(name === 'header' && status === 401),
                `${spelling} at ${name}: ${status}`,
              );
              told.push(status);
            }
          }
        }
        return tally(told);
      },
    },
    {
      name: 'files of the machine through the folders of the reference and the board',
      bound: `${FILES.length * UP.length * 2 * 2}, once each`,
      holds: 'nothing outside of them is sent',
      async run({ doors, adminToken }) {
        const told: (string | number)[] = [];
        for (const file of FILES) {
          for (const up of UP) {
            for (const folder of ['/docs/static/', '/admin/queues/static/']) {
              for (const deep of [3, 9]) {
                const path = `${folder}${up.repeat(deep)}${file}`;
                const said = await sayRaw(
                  doors.secret.port,
                  request(`GET ${path}`, [`Authorization: Bearer ${adminToken}`, 'Connection: close']),
                  2_000,
                );
                const status = statusesOf(said)[0] ?? 'cut';
                mustHold(!/root:x:|"flash-sale"|JWT_SECRET=|PATH=\//.test(said), `${path} was sent`);
                told.push(status);
              }
            }
          }
        }
        // The board answers its own page for what is none of its files.
        onlyThese(told, [200, 302, 400, 403, 404, 'cut']);
        return tally(told);
      },
    },
    {
      name: 'other methods on every route',
      bound: '8 methods × 5 routes',
      holds: 'nothing is changed or told that GET would not tell',
      async run({ doors, saleId }) {
        const told: (string | number)[] = [];
        for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND', 'SEARCH']) {
          for (const path of [
            '/api/flash-sales',
            `/api/flash-sales/${saleId}`,
            `/api/flash-sales/${saleId}/order`,
            '/health',
            '/docs',
          ]) {
            const said = await sayRaw(
              doors.header.port,
              request(`${method} ${path}`, ['X-User-ID: ann', 'X-Secret: echo-me', 'Connection: close']),
              2_000,
            );
            mustHold(!said.includes('echo-me'), `${method} ${path} echoes what was sent`);
            told.push(statusesOf(said)[0] ?? 'cut');
          }
        }
        onlyThese(told, [200, 302, 400, 404, 405, 'cut']);
        return tally(told);
      },
    },
    {
      name: 'a path that cannot be read: its refusal is nobody’s to keep',
      bound: '3, once each',
      holds: 'private, no-store and nosniff, as every answer',
      async run({ doors }) {
        for (const path of ['/%zz', `/api/flash-sales/${'x'.repeat(200)}`, '/api/orders/%']) {
          const said = (await sayRaw(doors.header.port, request(`GET ${path}`, ['Connection: close']))).toLowerCase();
          mustHold(said.includes('no-store'), `${path.slice(0, 30)}: a cache may keep the refusal`);
          mustHold(said.includes('nosniff'), `${path.slice(0, 30)}: no nosniff`);
        }
        return 'all three carry both';
      },
    },
  ],
};
