/**
 * SQL: orders of the sale whose id is parameter $1, read along the primary key (docs/decisions.md). The constraint orders_id_of_sale holds every
 * order's id within that range. Another sale's orders lie in it only where its id is this one's and a hyphen and begins with 0 from there ("tea"
 * and "tea-01"); they are passed over. The collation is said here, too: in the locale of a database that was not migrated the range would be another.
 */
export const ORDERS_OF_SALE = `sale_id = $1 AND id >= ($1::text || '-0') COLLATE "C" AND id < ($1::text || '-1') COLLATE "C"`;
