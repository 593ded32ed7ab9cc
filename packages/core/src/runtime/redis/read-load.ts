/** How full and how busy Redis is, and whether it keeps what it is told: the server, or each master of the cluster. */
import { type AnyRedis, endpointOf, mastersOf } from './open-redis.ts';

/** @throws where one of them does not answer */
export function readRedisLoad(redis: AnyRedis) {
  return Promise.all(
    mastersOf(redis).map(async (node) => {
      const { host, port } = endpointOf(node);
      return toLoad(`${host}:${port}`, await node.info());
    }),
  );
}

function toLoad(node: string, info: string) {
  const fields = new Map([...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]));
  const number = (name: string): number => Number(fields.get(name) ?? 0);
  return {
    node,
    memoryBytes: number('used_memory'),
    memoryLimitBytes: number('maxmemory') || number('total_system_memory'),
    clients: number('connected_clients'),
    commands: number('total_commands_processed'),
    // The thread that carries commands out; others write files.
    cpuSeconds: number('used_cpu_user_main_thread') + number('used_cpu_sys_main_thread'),
    evictedKeys: number('evicted_keys'),
    mayEvict: fields.get('maxmemory_policy') !== 'noeviction',
    persists: fields.get('aof_enabled') === '1' && fields.get('aof_last_write_status') === 'ok',
  };
}
