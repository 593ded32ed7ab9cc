/** Shapes of the sale routes. */
import { type Static, Type } from '@sinclair/typebox';
import { problemResponses } from '../plugins/problems.ts';

export const SaleViewSchema = Type.Object({
  id: Type.String({ description: 'The product id of the URL.' }),
  name: Type.String(),
  description: Type.Union([Type.String(), Type.Null()]),
  original_price: Type.Number(),
  flash_sale_price: Type.Number(),
  currency: Type.String({ description: 'ISO 4217.' }),
  starts_at: Type.String({ format: 'date-time' }),
  ends_at: Type.String({ format: 'date-time', description: 'The sale is over from this instant on.' }),
  state: Type.Union(
    ['scheduled', 'active', 'paused', 'sold_out', 'ended', 'recovering'].map((state) => Type.Literal(state)) as [
      ReturnType<typeof Type.Literal<SaleViewState>>,
    ],
    {
      description:
        'By the clock of Redis; behind a CDN up to a second late. `recovering`: the stock is being brought up.',
    },
  ),
  remaining: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Units that can be had, at most a second old, behind a CDN two; null while recovering.',
  }),
  per_buyer_limit: Type.Integer({ description: 'Units that one buyer may hold; 0 = no cap.' }),
});

type SaleViewState = 'scheduled' | 'active' | 'paused' | 'sold_out' | 'ended' | 'recovering';

export type SaleView = Static<typeof SaleViewSchema>;

const ServerTimeSchema = Type.String({
  format: 'date-time',
  description:
    'By the clock of Redis, when this answer was made: up to half a second before it is sent; and see the header Age.',
});

const SaleListSchema = Type.Object(
  { flash_sales: Type.Array(SaleViewSchema), count: Type.Integer(), server_time: ServerTimeSchema },
  { description: 'Active sales with units remaining.' },
);

const SaleReadSchema = Type.Object(
  { product: SaleViewSchema, server_time: ServerTimeSchema },
  { description: 'The sale.' },
);

export type SaleListBody = Static<typeof SaleListSchema>;
export type SaleReadBody = Static<typeof SaleReadSchema>;

const description =
  'An answer is made at most every few tenths of a second and sent to all who ask meanwhile. Its numbers are at most a second old. A CDN may keep it for one second more (`Cache-Control: public, max-age=0, s-maxage=1`), every further tier of caches likewise; a 404 also. Browsers ask each time, with `If-None-Match`. All other answers are `no-store`. HEAD is answered as GET is, without the body.';

const sharedHeaders = {
  'Cache-Control': { type: 'string', description: '`public, max-age=0, s-maxage=1`' },
  ETag: { type: 'string', description: 'Strong; of the whole body, `server_time` too.' },
  Age: {
    type: 'integer',
    description:
      'Whole seconds since the numbers were asked for: 0, or more from a cache or where the stock answers slowly.',
  },
};

const conditional = Type.Object({
  'if-none-match': Type.Optional(
    Type.String({ description: 'Entity tags that the client has, or `*`. Where one is that of the answer: 304.' }),
  ),
});

const notModified = { type: 'null', description: 'The client has this answer already.', headers: sharedHeaders };

export const ListSalesSchema = {
  tags: ['sales'],
  summary: 'Active sales with units remaining',
  description,
  headers: conditional,
  response: {
    200: { ...SaleListSchema, headers: sharedHeaders },
    304: notModified,
    ...problemResponses('ADDRESS_RATE_LIMITED', 'OVERLOADED', 'INVENTORY_UNAVAILABLE', 'LEDGER_UNAVAILABLE'),
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
    ...problemResponses(
      'SALE_NOT_FOUND',
      'ADDRESS_RATE_LIMITED',
      'OVERLOADED',
      'INVENTORY_UNAVAILABLE',
      'LEDGER_UNAVAILABLE',
    ),
  },
};
