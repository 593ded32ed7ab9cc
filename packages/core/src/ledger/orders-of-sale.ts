/**
 * SQL condition: orders of sale $1, read along the primary key (docs/decisions.md). The constraint
 * orders_id_of_sale keeps every order id within this range. Another sale's orders lie in it only if
 * its id extends this one's ("tea" and "tea-01"); `sale_id` excludes them. The collation is
 * repeated for databases that were restored with another one.
 */
export const ORDERS_OF_SALE = `sale_id = $1 AND id >= ($1::text || '-0') COLLATE "C" AND id < ($1::text || '-1') COLLATE "C"`;
