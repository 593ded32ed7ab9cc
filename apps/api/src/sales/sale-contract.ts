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
    { description: 'By the clock of Redis. `recovering`: the stock is being brought up.' },
  ),
  remaining: Type.Union([Type.Integer(), Type.Null()], {
    description: 'Units that can be had, at most a second old; null while recovering.',
  }),
  per_buyer_limit: Type.Integer({ description: 'Units that one buyer may hold; 0 = no cap.' }),
});

type SaleViewState = 'scheduled' | 'active' | 'paused' | 'sold_out' | 'ended' | 'recovering';

export type SaleView = Static<typeof SaleViewSchema>;

export const ListSalesSchema = {
  tags: ['sales'],
  summary: 'Active sales with units remaining',
  response: {
    200: Type.Object({
      flash_sales: Type.Array(SaleViewSchema),
      count: Type.Integer(),
      server_time: Type.String({ format: 'date-time' }),
    }),
    ...problemResponses('ADDRESS_RATE_LIMITED', 'OVERLOADED', 'GATE_UNAVAILABLE', 'LEDGER_UNAVAILABLE'),
  },
};

export const ReadSaleSchema = {
  tags: ['sales'],
  summary: 'One sale',
  params: Type.Object({ product_id: Type.String() }),
  response: {
    200: Type.Object({ product: SaleViewSchema, server_time: Type.String({ format: 'date-time' }) }),
    ...problemResponses(
      'SALE_NOT_FOUND',
      'ADDRESS_RATE_LIMITED',
      'OVERLOADED',
      'GATE_UNAVAILABLE',
      'LEDGER_UNAVAILABLE',
    ),
  },
};
