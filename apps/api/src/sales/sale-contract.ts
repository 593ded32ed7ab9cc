/** Schemas of the sale routes. */
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import { type Static, Type } from '@sinclair/typebox';
import { problemResponses, readCodes } from '../plugins/problems.ts';

const STATES = ['scheduled', 'active', 'paused', 'sold_out', 'ended', 'recovering'] as const;

const SaleViewSchema = Type.Object({
  id: Type.String({ description: 'The product id of the URL.' }),
  name: Type.String(),
  description: Type.Union([Type.String(), Type.Null()]),
  original_price: Type.Number(),
  flash_sale_price: Type.Number(),
  currency: Type.String({ description: 'ISO 4217.' }),
  starts_at: Type.String({ format: 'date-time' }),
  ends_at: Type.String({
    format: 'date-time',
    description: 'The sale ends at this instant; orders at or after it are refused.',
  }),
  state: Type.Union(
    STATES.map((state) => Type.Literal(state)),
    {
      description:
        'By the clock of Redis; behind a CDN up to a second late. `recovering`: the inventory is being rebuilt, and orders get 503.',
    },
  ),
  remaining: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Free units, at most a second old, behind a CDN two; null while recovering.',
  }),
  per_buyer_limit: Type.Integer({ description: 'Units that one buyer may hold; 0 = no cap.' }),
});

export type SaleView = Static<typeof SaleViewSchema>;

const ServerTimeSchema = Type.String({
  format: 'date-time',
  description:
    'Clock of Redis when this answer was created, up to half a second before it is sent. See also the header Age.',
});

const SaleListSchema = Type.Object(
  {
    flash_sales: Type.Array(SaleViewSchema),
    count: Type.Integer({ description: 'Sales in this page.' }),
    next_cursor: Type.Union([Type.String(), Type.Null()], {
      description:
        'Send it as `cursor` to get the next page; null: this is the last one. Only the last page may have fewer sales than `limit`, even none.',
    }),
    server_time: ServerTimeSchema,
  },
  { description: 'The sales, the earliest first.' },
);

const SaleReadSchema = Type.Object(
  { product: SaleViewSchema, server_time: ServerTimeSchema },
  { description: 'The sale.' },
);

export type SaleListBody = Static<typeof SaleListSchema>;
export type SaleReadBody = Static<typeof SaleReadSchema>;

const description =
  'Numbers are at most a second old. Each CDN tier may cache the answer, also a 404, for one more second (`Cache-Control: public, max-age=0, s-maxage=1`). Browsers revalidate each time with `If-None-Match`. HEAD is supported.';

const sharedHeaders = {
  'Cache-Control': { type: 'string', description: '`public, max-age=0, s-maxage=1`' },
  ETag: { type: 'string', description: 'Strong; covers the whole body with `server_time`.' },
  Age: {
    type: 'integer',
    description: 'Seconds since the numbers were read: 0, or more from a cache or a slow inventory.',
  },
};

const conditional = Type.Object({
  'if-none-match': Type.Optional(
    Type.String({ description: 'Entity tags that the client has, or `*`: 304 if one matches.' }),
  ),
});

const notModified = { type: 'null', description: 'The client already has this answer.', headers: sharedHeaders };

const WANTED = ['active', 'scheduled', 'all'] as const;
export type WantedSales = (typeof WANTED)[number];

/** Most sales in a page, and the default. */
export const PAGE_MAX = 100;

export const ListSalesSchema = {
  tags: ['sales'],
  summary: 'Current sales',
  description,
  headers: conditional,
  querystring: Type.Object({
    state: Type.Optional(
      Type.Unsafe<WantedSales>({
        type: 'string',
        enum: WANTED,
        description:
          '`active` (default): on sale, with units remaining. `scheduled`: not started. `all`: in every state, also those that ended within the last hour.',
      }),
    ),
    limit: Type.Optional(
      Type.String({ pattern: '^([1-9][0-9]?|100)$', description: 'Most sales in the page: 1 to 100 (default).' }),
    ),
    cursor: Type.Optional(
      Type.String({
        pattern: `^-?[0-9]{1,16}~${SALE_ID_PATTERN.slice(1)}`,
        description: 'The `next_cursor` of the page before.',
      }),
    ),
  }),
  response: {
    200: { ...SaleListSchema, headers: sharedHeaders },
    304: notModified,
    ...problemResponses(...readCodes),
  },
};

export const ReadSaleSchema = {
  tags: ['sales'],
  summary: 'One sale',
  description,
  headers: conditional,
  params: Type.Object({ product_id: Type.String() }),
  response: {
    200: { ...SaleReadSchema, headers: sharedHeaders },
    304: notModified,
    ...problemResponses('SALE_NOT_FOUND', ...readCodes),
  },
};
