/** How many connections PostgreSQL has in use. */
import type { Pool } from './connect-postgres.ts';

export interface PostgresLoad {
  /** Of all clients, this system's among them. */
  readonly connections: number;
  readonly connectionsMax: number;
}

/** @throws where PostgreSQL does not answer */
export async function readPostgresLoad(pool: Pool): Promise<PostgresLoad> {
  const { rows } = await pool.query<PostgresLoad>(
    `SELECT (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections,
            current_setting('max_connections')::int AS "connectionsMax"`,
  );
  return rows[0] as PostgresLoad;
}
